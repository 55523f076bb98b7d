//! What POSIX says of files, and what a tree counts.

use super::*;

const MIB: u64 = 1 << 20;

fn room(node: &Node) -> u64 {
    node.0.tree.room.load(Ordering::Relaxed)
}

fn write() -> How {
    How { create: true, write: true, ..How::default() }
}

/// A directory `a` with a file `f` (of "hello") and a directory `b`, a link `l` to `a/f`.
fn tree() -> Node {
    let root = Tree::root(true, MIB);
    root.make_directory("a").unwrap();
    root.make_directory("a/b").unwrap();
    let file = root.open("a/f", write()).unwrap();
    assert_eq!(file.write(At::Offset(0), b"hello"), Ok(5));
    root.symlink("a/f", "l").unwrap();
    root
}

fn content(node: &Node) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(node.stat().size).unwrap()];
    assert_eq!(node.read(0, &mut bytes), Ok(bytes.len()));
    bytes
}

#[test]
fn every_spelling_of_a_path_leads_to_the_same_file() {
    let root = tree();
    let file = root.find("a/f", false).unwrap();
    for path in ["./a/f", "a//f", "a/./b/../f", "a/b/../../a/f", "l"] {
        assert!(root.find(path, true).unwrap().is(&file), "{path}");
    }
    assert_eq!(root.find("l", false).unwrap().kind(), Kind::Link);
    for (path, fault) in [
        ("", Fault::NoEntry),
        ("x", Fault::NoEntry),
        ("a/x/y", Fault::NoEntry),
        ("a/f/x", Fault::NotDirectory),
        ("a/f/", Fault::NotDirectory),
        ("l/", Fault::NotDirectory),
        ("a/f/..", Fault::NotDirectory),
        ("a\0", Fault::Invalid),
        (&"x".repeat(256), Fault::NameTooLong),
        (&"x/".repeat(2049), Fault::NameTooLong),
    ] {
        assert_eq!(root.find(path, true).map(|_| ()), Err(fault), "{path}");
    }
    assert_eq!(root.find("a/", true).unwrap().kind(), Kind::Directory);
}

#[test]
fn nothing_leads_out() {
    let root = tree();
    let a = root.find("a", false).unwrap();
    for path in ["..", "../a", "b/../..", "b/../../a/f", "/", "/a", "/a/f"] {
        assert_eq!(a.find(path, true).map(|_| ()), Err(Fault::NotPermitted), "{path}");
    }
    assert!(a.find("b/..", true).unwrap().is(&a), "control");
    // Nor by a link, wherever it stands on the way.
    a.symlink("../a/f", "out").unwrap();
    a.symlink("..", "up").unwrap();
    assert_eq!(a.find("out", true).map(|_| ()), Err(Fault::NotPermitted));
    assert_eq!(a.find("up/a", true).map(|_| ()), Err(Fault::NotPermitted));
    assert!(root.find("a/out", true).is_ok(), "from above it is inside");
    assert_eq!(a.symlink("/etc/passwd", "absolute"), Err(Fault::NotPermitted));
}

#[test]
fn links_in_a_circle_end() {
    let root = tree();
    root.symlink("two", "one").unwrap();
    root.symlink("one", "two").unwrap();
    assert_eq!(root.find("one", true).map(|_| ()), Err(Fault::Loop));
    assert_eq!(root.find("one/x", false).map(|_| ()), Err(Fault::Loop));
    // As many as are followed, and one more.
    for (link, to) in (0..41).map(|index| (format!("c{index}"), format!("c{}", index + 1))) {
        root.symlink(&to, &link).unwrap();
    }
    root.open("c41", write()).unwrap();
    assert!(root.find("c1", true).is_ok());
    assert_eq!(root.find("c0", true).map(|_| ()), Err(Fault::Loop));
    // The target of a link that ends with a slash must be a directory.
    root.symlink("a/f/", "slash").unwrap();
    assert_eq!(root.find("slash", true).map(|_| ()), Err(Fault::NotDirectory));
}

#[test]
fn opening() {
    let root = tree();
    let how = How::default();
    assert_eq!(content(&root.open("l", How { follow: true, ..how }).unwrap()), b"hello");
    assert_eq!(root.open("l", how).map(|_| ()), Err(Fault::Loop));
    assert_eq!(root.open("a", How { write: true, ..how }).map(|_| ()), Err(Fault::IsDirectory));
    assert_eq!(root.open("a/f", How { directory: true, ..how }).map(|_| ()), Err(Fault::NotDirectory));
    assert_eq!(root.open("new", how).map(|_| ()), Err(Fault::NoEntry));
    assert_eq!(root.open("new/", write()).map(|_| ()), Err(Fault::IsDirectory));
    let exclusive = How { exclusive: true, ..write() };
    assert_eq!(root.open("a/f", exclusive).map(|_| ()), Err(Fault::Exist));
    // A link is there, wherever it leads.
    root.symlink("nowhere", "dangling").unwrap();
    assert_eq!(root.open("dangling", How { follow: true, ..exclusive }).map(|_| ()), Err(Fault::Exist));
    assert_eq!(root.open("a/f", How { truncate: true, ..how }).unwrap().stat().size, 0);
    // Made through a link.
    root.open("dangling", How { follow: true, ..write() }).unwrap();
    assert_eq!(root.find("nowhere", false).unwrap().kind(), Kind::File);
}

#[test]
fn removing() {
    let root = tree();
    assert_eq!(root.unlink("a"), Err(Fault::IsDirectory));
    assert_eq!(root.unlink("a/f/"), Err(Fault::NotDirectory));
    assert_eq!(root.unlink("x"), Err(Fault::NoEntry));
    assert_eq!(root.remove_directory("a"), Err(Fault::NotEmpty));
    assert_eq!(root.remove_directory("a/f"), Err(Fault::NotDirectory));
    assert_eq!(root.remove_directory("a/b/.."), Err(Fault::Invalid));
    let open = root.open("a/f", How { write: true, ..How::default() }).unwrap();
    root.unlink("a/f").unwrap();
    root.remove_directory("a/b").unwrap();
    root.remove_directory("a").unwrap();
    assert_eq!((open.stat().links, content(&open)), (0, b"hello".to_vec()), "who has it keeps it");
    assert_eq!(open.write(At::End, b"!"), Ok(6));
}

#[test]
fn renaming() {
    let root = tree();
    assert_eq!(root.rename("a", &root, "a/b/c"), Err(Fault::Invalid), "into itself");
    assert_eq!(root.rename("a", &root, "l"), Err(Fault::NotDirectory));
    assert_eq!(root.rename("l", &root, "a"), Err(Fault::IsDirectory));
    root.make_directory("d").unwrap();
    assert_eq!(root.rename("d", &root, "a"), Err(Fault::NotEmpty));
    assert_eq!(root.rename("a/f", &root, "g/"), Err(Fault::NotDirectory));
    root.rename("a", &root, "d").unwrap();
    assert_eq!(content(&root.find("d/f", false).unwrap()), b"hello");
    assert_eq!(root.find("a", false).map(|_| ()), Err(Fault::NoEntry));
    root.link("d/f", &root, "same").unwrap();
    assert_eq!(root.find("same", false).unwrap().stat().links, 2);
    root.rename("same", &root, "d/f").unwrap();
    assert!(root.find("same", false).is_ok(), "two names of one file stay both");
    let other = Tree::root(true, MIB);
    assert_eq!(root.rename("same", &other, "x"), Err(Fault::OtherTree));
    assert_eq!(root.link("same", &other, "x"), Err(Fault::OtherTree));
}

#[test]
fn a_tree_that_is_read_stays_as_it_is() {
    let root = Tree::root(false, 0);
    root.place("etc/ca.pem", Bytes::from_static(b"pem")).unwrap();
    assert_eq!(content(&root.find("etc/ca.pem", false).unwrap()), b"pem");
    let file = root.open("etc/ca.pem", How::default()).unwrap();
    assert_eq!(root.open("etc/ca.pem", write()).map(|_| ()), Err(Fault::ReadOnly));
    for refused in [
        root.open("new", write()).map(|_| ()),
        root.make_directory("new"),
        root.unlink("etc/ca.pem"),
        root.remove_directory("etc"),
        root.rename("etc", &root, "new"),
        root.link("etc/ca.pem", &root, "new"),
        root.symlink("etc", "new"),
        file.write(At::End, b"x").map(|_| ()),
        file.resize(0),
        file.touch(None, None),
    ] {
        assert_eq!(refused, Err(Fault::ReadOnly));
    }
}

#[test]
fn a_mount_is_in_its_place_and_stays_there() {
    let root = Tree::root(true, MIB);
    let mount = Tree::root(true, MIB);
    root.mount("var/data", mount.clone()).unwrap();
    root.open("var/data/x", write()).unwrap();
    assert!(mount.find("x", false).is_ok());
    mount.unlink("x").unwrap();
    assert_eq!(root.remove_directory("var/data"), Err(Fault::Busy));
    assert_eq!(root.rename("var/data", &root, "elsewhere"), Err(Fault::OtherTree));
}

#[test]
fn what_is_taken_is_given_back() {
    let root = Tree::root(true, MIB);
    let begun = room(&root);
    let file = root.open("f", write()).unwrap();
    let named = room(&root);
    assert!(named < begun);
    file.write(At::Offset(0), &[1; 100_000]).unwrap();
    assert!(begun - room(&root) >= 100_000);
    file.resize(1).unwrap();
    assert_eq!(named - room(&root), 16 * 1024);
    root.unlink("f").unwrap();
    assert_eq!(named - room(&root), 16 * 1024, "it is still open");
    drop(file);
    assert_eq!(room(&root), begun);
    // A mount may be larger than what there is to be had.
    let large = Tree::root(true, u64::MAX);
    let begun = room(&large);
    assert_eq!(large.0.tree.take(MACHINE.limit + 1), Err(Fault::NoSpace));
    assert_eq!(room(&large), begun);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let root = Tree::root(true, MIB);
    let file = root.open("f", write()).unwrap();
    file.write(At::Offset(0), b"kept").unwrap();
    let before = room(&root);
    assert_eq!(file.write(At::Offset(0), &vec![1; 2 << 20]), Err(Fault::NoSpace));
    assert_eq!((room(&root), content(&file)), (before, b"kept".to_vec()));
    // Names are counted too.
    let made = (0..).find_map(|index| root.make_directory(&format!("d{index}")).err().map(|fault| (index, fault)));
    let (made, fault) = made.unwrap();
    assert_eq!(fault, Fault::NoSpace);
    assert!((1000..4096).contains(&made), "{made}");
}

#[test]
fn holes_take_no_room_and_are_empty() {
    let root = Tree::root(true, MIB);
    let file = root.open("f", write()).unwrap();
    let before = room(&root);
    file.write(At::Offset(1 << 40), b"end").unwrap();
    assert_eq!((before - room(&root), file.stat().size), (16 * 1024, (1 << 40) + 3));
    let mut bytes = [7; 8];
    assert_eq!(file.read(1 << 20, &mut bytes), Ok(8));
    assert_eq!(bytes, [0; 8]);
    assert_eq!(file.read((1 << 40) - 2, &mut bytes), Ok(5));
    assert_eq!(&bytes[..5], b"\0\0end");
    for huge in [u64::MAX, (1 << 62) + 1] {
        assert_eq!(file.resize(huge), Err(Fault::TooLarge));
        assert_eq!(file.write(At::Offset(huge), b"x"), Err(Fault::TooLarge));
    }
    assert_eq!(file.read(u64::MAX, &mut bytes), Err(Fault::Invalid));
    // What was cut off does not come back.
    file.write(At::Offset(0), b"secret").unwrap();
    file.resize(1).unwrap();
    file.resize(6).unwrap();
    assert_eq!(content(&file), b"s\0\0\0\0\0");
}

#[test]
fn a_file_of_the_package_is_copied_when_it_is_changed() {
    let root = Tree::root(true, MIB);
    let bytes: Vec<u8> = (0..40_000).map(|index| u8::try_from(index % 251).unwrap()).collect();
    root.place("f", Bytes::from(bytes.clone())).unwrap();
    let begun = room(&root);
    let file = root.open("f", How { write: true, ..How::default() }).unwrap();
    assert_eq!((content(&file), room(&root)), (bytes.clone(), begun));
    file.write(At::Offset(20_000), b"x").unwrap();
    let mut changed = bytes;
    changed[20_000] = b'x';
    assert_eq!((content(&file), begun - room(&root)), (changed, 3 * 16 * 1024));
}

/// By recursion this would take more stack than a thread has.
#[test]
fn directories_as_deep_as_they_fit_are_dropped() {
    let root = Tree::root(true, 64 * MIB);
    let mut deepest = root.clone();
    for _ in 0..200_000 {
        deepest.make_directory("d").unwrap();
        deepest = deepest.find("d", false).unwrap();
    }
    drop(deepest);
    let tree = Arc::clone(&root.0.tree);
    drop(root);
    assert_eq!(tree.room.load(Ordering::Relaxed), 64 * MIB);
}
