//! Writes `docs/reference`: every check and every key of a policy, from the tables in the code.
//!
//! `cargo run -p evidence --example reference`. `tests/appraisal` fails while the committed files differ from it.

mod pages;

fn main() -> std::io::Result<()> {
    let folder = pages::folder();
    std::fs::create_dir_all(&folder)?;
    pages::all().into_iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
}
