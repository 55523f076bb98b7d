//! The first program of a project, in the language of one's choice: what `donjon init --template` writes.
//!
//! Owns which templates there are, and which files each has; the files themselves lie in `templates/`, one folder each, as
//! they are written. Each has a `README.md` with the commands that build and run it. The suite `languages` does what they
//! say, and expects what they show.

/// A language, and what the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Template {
    /// A command in Rust.
    Rust,
    /// A wasi:http service in Rust.
    RustHttp,
    /// A command in C, by Zig's Clang.
    C,
    /// A command in C++, by Zig's Clang.
    Cpp,
    /// A command in Zig.
    Zig,
    /// A command in Go.
    Go,
    /// A command in AssemblyScript.
    #[value(name = "assemblyscript")]
    AssemblyScript,
    /// A wasi:http service in JavaScript, with its engine.
    Js,
    /// A wasi:http service in TypeScript, with its engine.
    Ts,
    /// A wasi:http service in Python, with its interpreter.
    Python,
    /// A script in Ruby beside its interpreter.
    Ruby,
}

/// Files of one template: where each is written, and what is in it.
type Files = &'static [(&'static str, &'static str)];

/// The files of a folder below `templates/`. `gitignore` has its dot only in the project: with it git would heed it here.
macro_rules! files {
    ($folder:literal, $($file:literal),+ $(; $path:literal = $other:literal)*) => {
        &[
            (".gitignore", include_str!(concat!("../../templates/", $folder, "/gitignore"))),
            $(($file, include_str!(concat!("../../templates/", $folder, "/", $file))),)+
            $(($path, include_str!(concat!("../../templates/", $other))),)*
        ]
    };
}

impl Template {
    pub(crate) const fn files(self) -> Files {
        match self {
            Self::Rust => files!("rust", "Cargo.toml", "Donjon.toml", "README.md", "src/main.rs"),
            Self::RustHttp => {
                files!("rust-http", "Cargo.lock", "Cargo.toml", "Donjon.toml", "README.md", "src/lib.rs")
            }
            Self::C => files!("c", "Donjon.toml", "README.md", "main.c"),
            Self::Cpp => files!("cpp", "Donjon.toml", "README.md", "main.cpp"),
            Self::Zig => files!("zig", "Donjon.toml", "README.md", "main.zig"),
            Self::Go => files!("go", "Donjon.toml", "README.md", "go.mod", "main.go"),
            Self::AssemblyScript => files!("assemblyscript", "Donjon.toml", "README.md", "main.ts", "package.json"),
            Self::Js => {
                files!("js", "Donjon.toml", "README.md", "app.js", "package.json"; "wit/world.wit" = "wit/world.wit")
            }
            Self::Ts => {
                files!("ts", "Donjon.toml", "README.md", "app.ts", "package.json", "tsconfig.json";
                       "wit/world.wit" = "wit/world.wit")
            }
            Self::Python => files!("python", "Donjon.toml", "README.md", "app.py"; "wit/world.wit" = "wit/world.wit"),
            Self::Ruby => files!("ruby", "Donjon.toml", "README.md", "main.rb", "package.json"),
        }
    }
}
