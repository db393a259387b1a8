//! The code checks its own shape: what STYLE and ARCHITECTURE ask for, and no compiler sees.
//!
//! Each rule is a function from a source to findings. [`the_code_is_tidy`] runs all of them over
//! all crates; below it, each rule is shown a small bad sample and must see it. Rules look at text:
//! comments and strings are blanked where only code counts ([`code_of`]), and test code is cut off
//! where only the product counts ([`product_of`]).
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The rooms, lowest first: a room may import only rooms before it.
const ROOMS: &[&str] = &[
    "types",
    "config",
    "task",
    "telemetry",
    "storage",
    "index",
    "placement",
    "migration",
    "partition",
    "peer",
    "control",
    "replication",
    "cluster",
    "service",
    "wire",
    "api",
    "node",
    "main",
];

/// Imports against the direction that are meant: (where, room it looks up to, why).
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "vecgridd/src/migration/simulation/",
    "control",
    "only for tests: leases and the failure detector are the real ones, and pure",
)];

/// Files of the daemon that speak to a person at a terminal.
const PRINTERS: &[&str] =
    &["vecgridd/src/main.rs", "vecgridd/src/node/ready.rs", "vecgridd/src/node/recover.rs"];

/// Parts that decide: event in, effects out.
const PURE: &[&str] = &[
    "vecgridd/src/partition/state.rs",
    "vecgridd/src/control/state.rs",
    "vecgridd/src/control/failure_detector.rs",
    "vecgridd/src/control/voters.rs",
    "vecgridd/src/control/plan.rs",
    "vecgridd/src/control/lease.rs",
    "vecgridd/src/control/rescue.rs",
    "vecgridd/src/control/raft/campaign.rs",
    "vecgridd/src/placement/",
    "vecgridd/src/migration/",
    "vecgridd/src/cluster/birth.rs",
];

/// What the deciding parts must not know.
const IMPURE: &[&str] =
    &["Instant::now", "SystemTime::now", "tokio::spawn", "thread::spawn", "std::net", "std::fs", "rand::"];

/// Where `unsafe` may be: kernels, the memory of the graph, what tries its orders, and mapped files.
const UNSAFE_PLACES: &[&str] = &[
    "vecgridd/src/index/distance/",
    "vecgridd/src/index/native/kernels/",
    "vecgridd/src/index/checkpoint/map.rs",
    "vecgridd/src/index/native/arena.rs",
    "vecgridd/src/index/native/graph.rs",
    "vecgridd/src/index/native/vectors.rs",
    "vecgridd/src/index/region.rs",
    "vecgridd/tests/loom/",
];
const MAX_LINES: usize = 600;
/// How far above `unsafe` its reason may stand.
const SAFETY_LINES: usize = 6;

/// Words that must not be in product code, each with what to do instead.
const BANNED_CODE: &[(&str, &str)] = &[
    (".unwrap()", "return an error, or make the case impossible"),
    (".expect(", "return an error, or make the case impossible"),
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
    ("dbg!", "use tracing"),
    ("unbounded", "every queue is bounded, in bytes where it can be"),
    ("mod utils", "name the module after what it does"),
    ("mod helpers", "name the module after what it does"),
    ("mod common", "name the module after what it does"),
    ("mod misc", "name the module after what it does"),
];

/// Words that must not be in any text. Written in two halves, so that this file passes.
const BANNED_TEXT: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "open an issue"),
    (concat!("XX", "X"), "open an issue"),
    (concat!("/wo", "rk/"), "no absolute paths of one machine"),
    (concat!("/ro", "ot/"), "no absolute paths of one machine"),
    (concat!("index.cra", "tes.io"), "the user's own settings say where packages come from"),
    (concat!("static.cra", "tes.io"), "the user's own settings say where packages come from"),
    (concat!("pypi.", "org/simple"), "the user's own settings say where packages come from"),
    (concat!("files.python", "hosted.org"), "the user's own settings say where packages come from"),
    (concat!("registry.npm", "js.org"), "the user's own settings say where packages come from"),
    (concat!("--index", "-url"), "the user's own settings say where packages come from"),
    (concat!("PIP_INDEX", "_URL"), "the user's own settings say where packages come from"),
    (concat!("replace", "-with"), "the user's own settings say where packages come from"),
];

/// A file, by its path from the workspace's root.
#[derive(Debug, Clone)]
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is(&self, extension: &str) -> bool {
        self.path.ends_with(extension)
    }

    fn in_product(&self) -> bool {
        let folders = ["vecgridd/src/", "client-rs/src/", "proto/src/", "proto/build.rs"];
        self.is(".rs") && folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// The room it belongs to, if it is of the daemon.
    fn room(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("vecgridd/src/")?;
        let first = inner.split('/').next()?.trim_end_matches(".rs");
        (first != "lib").then_some(first)
    }
}

// ---- reading ----

/// The same text with comments, strings and characters blanked; lines stay where they are.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, string or character that starts here ends; `at` itself when none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let find = |from: usize, wanted: &dyn Fn(usize) -> bool| {
        (from..chars.len()).find(|&i| wanted(i)).unwrap_or(chars.len())
    };
    match chars[at] {
        '/' if next(1) == '/' => find(at, &|i| chars[i] == '\n'),
        '/' if next(1) == '*' => {
            let mut depth = 0;
            let mut i = at;
            while i < chars.len() {
                match (chars[i], chars.get(i + 1)) {
                    ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
                    ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
            i.min(chars.len())
        }
        '"' => closing_quote(chars, at + 1, '"'),
        'r' if !in_word && (next(1) == '"' || next(1) == '#') => {
            let hashes = (at + 1..chars.len()).take_while(|&i| chars[i] == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                return at;
            }
            let ends = |i: usize| chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
            (find(at + 2 + hashes, &ends) + 1 + hashes).min(chars.len())
        }
        // A character, not a lifetime: 'x' or an escape.
        '\'' if next(1) == '\\' || (next(2) == '\'' && next(1) != '\'') => closing_quote(chars, at + 1, '\''),
        _ => at,
    }
}

fn closing_quote(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Code without the items under `#[cfg(test)]`; lines stay where they are.
fn product_of(text: &str) -> String {
    let mut code = code_of(text);
    while let Some(start) = code.find("#[cfg(test)]") {
        let rest = &code[start..];
        let open = rest.find('{').unwrap_or(rest.len());
        let end = match rest.find(';') {
            Some(end) if end < open => end + 1,
            _ => matching_brace(rest, open),
        };
        let blank: String = rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..start + end, &blank);
    }
    code
}

fn matching_brace(text: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && c == '}' {
            return open + at + 1;
        }
    }
    text.len()
}

/// Files and folders that exist only for tests: declared by `#[cfg(test)] mod name;`.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for source in sources.iter().filter(|s| s.is(".rs")) {
        let stem = source.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "mod" | "lib" | "main")) => folder,
            _ => stem,
        };
        for part in code_of(&source.text).split("#[cfg(test)]").skip(1) {
            let end = part.find([';', '{']).unwrap_or(part.len());
            let (item, rest) = part.split_at(end);
            if let Some((_, name)) = item.rsplit_once("mod ")
                && rest.starts_with(';')
            {
                files.insert(format!("{folder}/{}.rs", name.trim()));
                files.insert(format!("{folder}/{}/", name.trim()));
            }
        }
    }
    files
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

// ---- rules ----

/// (a) Imports go down the list of rooms.
fn directions(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else { return Vec::new() };
    let Some(own) = ROOMS.iter().position(|r| *r == room) else {
        return vec![format!("{}: `{room}` is not in the list of rooms", source.path)];
    };
    let code = code_of(&source.text);
    let mut findings = Vec::new();
    for (line, target) in imported_rooms(&code) {
        let meant = EXCEPTIONS.iter().any(|(from, to, _)| source.path.starts_with(from) && *to == target);
        let up = ROOMS.iter().position(|r| *r == target).is_some_and(|there| there > own);
        if up && !meant {
            findings.push(format!("{}:{line}: `{room}` must not know `{target}`", source.path));
        }
    }
    findings
}

/// Every room named by `crate::x` or `crate::{x, y::z}`, with its line.
fn imported_rooms(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = if rest.starts_with('{') {
            group(&rest[1..matching_brace(rest, 0)])
        } else {
            vec![first_word(rest)]
        };
        found.extend(names.into_iter().map(|name| (line_of(code, at), name)));
    }
    found
}

/// First words of the members of `{…}`, given without its opening brace.
fn group(inside: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), true);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && !c.is_whitespace() => {
                names.push(first_word(&inside[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// (b) No file is longer than a person reads at once.
fn lengths(source: &Source) -> Vec<String> {
    let generated = source.path.contains("_pb2");
    let lines = source.text.lines().count();
    if (source.is(".rs") || source.is(".py")) && !generated && lines > MAX_LINES {
        return vec![format!("{}: {lines} lines, {MAX_LINES} are allowed", source.path)];
    }
    Vec::new()
}

/// (c) Words that do not belong there.
fn words(source: &Source, only_for_tests: bool) -> Vec<String> {
    let mut findings = Vec::new();
    let mut find = |text: &str, word: &str, instead: &str| {
        for at in places(text, word) {
            findings.push(format!("{}:{}: `{word}`: {instead}", source.path, line_of(text, at)));
        }
    };
    for (word, instead) in BANNED_TEXT {
        find(&source.text, word, instead);
    }
    if source.in_product() && !only_for_tests {
        let code = product_of(&source.text);
        for (word, instead) in BANNED_CODE {
            find(&code, word, instead);
        }
        if source.path.starts_with("vecgridd/") && !PRINTERS.contains(&source.path.as_str()) {
            find(&code, "println!", "use tracing: only a few files speak to a person");
        }
    }
    findings
}

/// Where a word is; letters are matched as whole words, so that `mktemp`'s pattern is none.
fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let whole = word.bytes().all(|b| b.is_ascii_uppercase());
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !whole || !(letter(text[..*at].chars().next_back()) || letter(text[at + word.len()..].chars().next()))
    })
}

/// (d) `unsafe` has its place and its reason.
fn unsafety(source: &Source) -> Vec<String> {
    if !source.is(".rs") {
        return Vec::new();
    }
    let code = code_of(&source.text);
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        if !words.contains(&"unsafe") {
            continue;
        }
        if !UNSAFE_PLACES.iter().any(|place| source.path.starts_with(place)) {
            findings.push(format!("{}:{}: `unsafe` outside {UNSAFE_PLACES:?}", source.path, number + 1));
        }
        let above = &lines[number.saturating_sub(SAFETY_LINES)..=number];
        // A function that is unsafe to call says so in its documentation.
        let declared = line.contains("unsafe fn") && above.iter().any(|line| line.contains("# Safety"));
        if !declared && !above.iter().any(|line| line.contains("SAFETY:")) {
            findings.push(format!("{}:{}: `unsafe` without a SAFETY: comment", source.path, number + 1));
        }
    }
    findings
}

/// (e) A folder's name says where one is.
fn folders(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(inner) = source.path.strip_prefix("vecgridd/src/") else { continue };
        let parts: Vec<&str> = inner.split('/').collect();
        for depth in 1..parts.len() {
            places.entry(parts[depth - 1].to_owned()).or_default().insert(parts[..depth].join("/"));
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice.map(|(name, places)| format!("two folders are called `{name}`: {places:?}")).collect()
}

/// (f) What decides knows no clock, socket, thread or chance.
fn purity(source: &Source) -> Vec<String> {
    if !PURE.iter().any(|part| source.path.starts_with(part)) {
        return Vec::new();
    }
    let code = product_of(&source.text);
    let found = |word: &&str| -> Vec<String> {
        let lines = code.match_indices(*word).map(|(at, _)| line_of(&code, at));
        lines.map(|line| format!("{}:{line}: `{word}` in a part that decides", source.path)).collect()
    };
    IMPURE.iter().flat_map(found).collect()
}

/// (g) A module opens with what it promises.
fn essays(source: &Source) -> Vec<String> {
    let opens = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if source.is(".rs") && !opens.starts_with("//!") {
        return vec![format!("{}: does not open with `//!`", source.path)];
    }
    Vec::new()
}

// ---- all of them ----

/// Where the test is run: the binary may have been built for another copy of the sources that shares its cache.
fn workspace() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().unwrap().to_owned()
}

fn read_all() -> Vec<Source> {
    let root = workspace();
    let mut sources = Vec::new();
    for folder in ["vecgridd", "proto", "client-rs", "client-py", "tests", "deploy", ".ci"] {
        read(&root, &root.join(folder), &mut sources);
    }
    for file in ["Cargo.toml", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        sources.extend(load(&root, &root.join(file)));
    }
    sources
}

fn read(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Things that tools make, and data.
        let ours = !matches!(name.as_str(), "target" | "__pycache__" | "node_modules" | "sample" | "dist")
            && (!name.starts_with('.') || name == ".ci")
            && !name.ends_with(".egg-info");
        if path.is_dir() && ours {
            read(root, &path, sources);
        } else if path.is_file() && ours {
            sources.extend(load(root, &path));
        }
    }
}

fn load(root: &Path, path: &Path) -> Option<Source> {
    let text = String::from_utf8(fs::read(path).ok()?).ok()?;
    let path = path.strip_prefix(root).ok()?.to_string_lossy().into_owned();
    Some(Source { path, text })
}

#[test]
fn the_code_is_tidy() {
    let sources = read_all();
    assert!(
        sources.iter().filter(|s| s.is(".rs")).count() > 30,
        "hardly any sources in {}",
        workspace().display()
    );
    let for_tests = test_files(&sources);
    let only_for_tests = |path: &str| {
        for_tests.iter().any(|part| path == part || (part.ends_with('/') && path.starts_with(part)))
    };
    let mut findings = folders(&sources);
    for source in &sources {
        findings.extend(directions(source));
        findings.extend(lengths(source));
        findings.extend(words(source, only_for_tests(&source.path)));
        findings.extend(unsafety(source));
        if !only_for_tests(&source.path) {
            findings.extend(purity(source));
            findings.extend(essays(source));
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn every_exception_has_a_reason() {
    assert!(EXCEPTIONS.iter().all(|(_, _, why)| why.len() > 20), "{EXCEPTIONS:?}");
}

// ---- each rule, seen to fail ----

#[test]
fn an_import_against_the_direction_is_seen() {
    let seen = |path: &str, text: &str| directions(&Source::new(path, text)).len();
    assert_eq!(seen("vecgridd/src/storage/rocks.rs", "use crate::service::Service;"), 1);
    assert_eq!(seen("vecgridd/src/types/ids.rs", "fn f() { crate::api::go() }"), 1);
    assert_eq!(
        seen("vecgridd/src/index/mod.rs", "use crate::{\n    types::{A, node},\n    partition::{B, C},\n};"),
        1
    );
    assert_eq!(seen("vecgridd/src/migration/stream.rs", "use crate::control::Lease;"), 1);
    assert_eq!(seen("vecgridd/src/migration/simulation/world.rs", "use crate::control::Lease;"), 0, "meant");
    assert_eq!(seen("vecgridd/src/attic/mod.rs", ""), 1, "a room that is not in the list");
    assert_eq!(seen("vecgridd/src/service/put.rs", "use crate::{index::View, types::Entry};"), 0);
    assert_eq!(seen("vecgridd/src/storage/rocks.rs", "// not crate::service\nlet s = \"crate::api\";"), 0);
}

#[test]
fn a_file_that_is_too_long_is_seen() {
    assert_eq!(lengths(&Source::new("a.rs", &"x\n".repeat(601))).len(), 1);
    assert_eq!(lengths(&Source::new("a.py", &"x\n".repeat(601))).len(), 1);
    assert_eq!(lengths(&Source::new("a.rs", &"x\n".repeat(600))).len(), 0);
    assert_eq!(lengths(&Source::new("v1/a_pb2.py", &"x\n".repeat(9_000))).len(), 0);
}

#[test]
fn a_banned_word_is_seen() {
    let seen = |text: &str| words(&Source::new("vecgridd/src/api/a.rs", text), false).len();
    for (word, _) in BANNED_CODE {
        assert_eq!(seen(&format!("fn f() {{ {word} }}")), 1, "{word}");
        assert_eq!(
            seen(&format!("/// {word}\nlet s = \"{word}\";")),
            0,
            "{word} in a comment and in a string"
        );
        let test = format!("#[cfg(test)]\nmod tests {{ fn f() {{ {word} }} }}");
        assert_eq!(seen(&test), 0, "{word} in a test");
    }
    for (word, _) in BANNED_TEXT {
        assert_eq!(seen(&format!("// {word}")), 1, "{word}");
        assert_eq!(words(&Source::new("deploy/a.sh", word), false).len(), 1, "{word}");
    }
    assert_eq!(seen("fn f() { println!() }"), 1);
    assert_eq!(words(&Source::new("client-rs/src/a.rs", "fn f() { println!() }"), false).len(), 0);
    assert_eq!(seen("#[cfg(test)]\nmod tests {}\nfn f() { x.unwrap() }"), 1, "code after a test module");
}

#[test]
fn unsafe_without_a_reason_or_out_of_place_is_seen() {
    let seen = |path: &str, text: &str| unsafety(&Source::new(path, text)).len();
    let inside = "vecgridd/src/index/distance/x86.rs";
    assert_eq!(seen(inside, "unsafe { f() }"), 1);
    assert_eq!(seen(inside, "// SAFETY: checked above\nunsafe { f() }"), 0);
    assert_eq!(seen(inside, "/// # Safety\n/// `at` is inside.\nunsafe fn f() {}"), 0);
    assert_eq!(seen(inside, "/// # Safety\nunsafe { f() }"), 1);
    assert_eq!(seen(inside, &format!("// SAFETY: far away\n{}unsafe {{ f() }}", "\n".repeat(7))), 1);
    assert_eq!(seen("vecgridd/src/api/a.rs", "// SAFETY: no\nunsafe { f() }"), 1);
    assert_eq!(seen("vecgridd/src/api/a.rs", "// unsafe\nlet s = \"unsafe\"; #![deny(unsafe_code)]"), 0);
}

#[test]
fn two_folders_of_one_name_are_seen() {
    let sources = |paths: &[&str]| paths.iter().map(|path| Source::new(path, "")).collect::<Vec<_>>();
    assert_eq!(folders(&sources(&["vecgridd/src/api/keys/a.rs", "vecgridd/src/storage/keys/b.rs"])).len(), 1);
    assert_eq!(folders(&sources(&["vecgridd/src/api/http/a.rs", "vecgridd/src/api/http/b.rs"])).len(), 0);
}

#[test]
fn a_clock_in_a_part_that_decides_is_seen() {
    let seen = |path: &str, text: &str| purity(&Source::new(path, text)).len();
    for word in IMPURE {
        assert_eq!(seen("vecgridd/src/placement/hash.rs", &format!("fn f() {{ {word}() }}")), 1, "{word}");
    }
    assert_eq!(seen("vecgridd/src/partition/actor.rs", "fn f() { Instant::now() }"), 0);
    assert_eq!(seen("vecgridd/src/partition/state.rs", "//! no Instant::now here"), 0);
}

#[test]
fn a_module_without_an_essay_is_seen() {
    assert_eq!(essays(&Source::new("a.rs", "use std::fs;")).len(), 1);
    assert_eq!(essays(&Source::new("a.rs", "")).len(), 1);
    assert_eq!(essays(&Source::new("a.rs", "//! What it promises.\n")).len(), 0);
}

#[test]
fn code_is_told_from_comments_and_strings() {
    let code = code_of("a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j \" k\"# 'l' m<'n> '\\'' o");
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "e", "i", "m<'n>", "o"]);
    let declared = [Source::new(
        "vecgridd/src/index/mod.rs",
        "#[cfg(test)]\nmod suite;\nmod view;\n#[cfg(test)]\nmod t {}",
    )];
    assert_eq!(test_files(&declared).len(), 2);
    assert!(test_files(&declared).contains("vecgridd/src/index/suite.rs"));
}
