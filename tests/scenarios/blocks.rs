//! The parts of a scenario's file that `UPDATE_EXPECT=1` writes; everything else stays as it is, byte for byte.

/// The keys whose blocks are written, each with the text after it as `key: |` and an indented block.
const WRITTEN: [&str; 5] = ["expect", "plan", "dump", "node_rules", "diagnostics"];

/// What was found for one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Which of the keys.
    pub(crate) key: &'static str,
    /// Lines, each with its end, or nothing.
    pub(crate) text: String,
}

/// Puts each text in its place: the first into the first block of the file, and so on.
pub(crate) fn rewrite(file: &str, found: &[Found]) -> Result<String, String> {
    let mut out = String::with_capacity(file.len());
    let mut found = found.iter();
    let mut lines = file.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let Some(head) = Head::of(line) else {
            out.push_str(line);
            continue;
        };
        let written = WRITTEN.into_iter().find(|key| *key == head.key);
        let block = take_block(&mut lines, head.column);
        let Some(key) = written else {
            out.push_str(line);
            out.push_str(&block);
            continue;
        };
        let next = found.next().filter(|next| next.key == key);
        let next = next.ok_or("write questions first, then plan, dump, node_rules and diagnostics")?;
        let start = head.column + key.len();
        out.push_str(&line[..start]);
        out.push_str(": |\n");
        for line in next.text.lines() {
            out.push_str(format!("{:1$}  {line}", "", head.column).trim_end());
            out.push('\n');
        }
        let body = block.trim_end();
        let rest = &block[body.len()..];
        // Blank lines below a block stay; the end of its last line went with it.
        out.push_str(rest.strip_prefix('\n').filter(|_| !body.is_empty()).unwrap_or(rest));
    }
    match found.next() {
        None => Ok(out),
        Some(left) => Err(format!("no block {:?} to write in", left.key)),
    }
}

/// A line `key: …`, perhaps the first of a list's entry.
struct Head<'a> {
    key: &'a str,
    column: usize,
}

impl<'a> Head<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let key = line.trim_start_matches([' ', '-']);
        let (key, _) = key.split_once(':')?;
        let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        // A block begins below; other values stand on the key's line, or are lists whose entries are looked at in turn.
        let column = line.find(key)?;
        let opens = line.trim_end().ends_with('|') || line.trim_end().ends_with('>') || WRITTEN.contains(&key);
        (is_key && opens).then_some(Self { key, column })
    }
}

/// The lines that belong to a key in this column.
fn take_block<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, column: usize) -> String {
    let mut block = String::new();
    let inside = |line: &&str| line.trim().is_empty() || line.len() - line.trim_start_matches(' ').len() > column;
    while let Some(line) = lines.next_if(inside) {
        block.push_str(line);
    }
    block
}

/// A table of files, written texts and outcomes.
pub(crate) fn check_rewriting() {
    let expect = |text: &str| Found { key: "expect", text: text.to_owned() };
    let dump = |text: &str| Found { key: "dump", text: text.to_owned() };
    let file = "# a: comment\nabout: |\n  expect: |\n    not this\nquestions:\n- to: a # kept\n  expect: |\n    old\n\n    x\n\
                - to: b\n  expect:\n\n# between\ndump: nothing\n";
    let want = "# a: comment\nabout: |\n  expect: |\n    not this\nquestions:\n- to: a # kept\n  expect: |\n    new\n\
                - to: b\n  expect: |\n    1\n    2\n\n# between\ndump: |\n";
    let got = rewrite(file, &[expect("new\n"), expect("1\n2\n"), dump("")]);
    assert_eq!(got.as_deref(), Ok(want));
    assert_eq!(rewrite(want, &[expect("new\n"), expect("1\n2\n"), dump("")]).as_deref(), Ok(want));
    assert!(rewrite(file, &[expect("a"), dump("b"), expect("c")]).is_err(), "the order counts");
    assert!(rewrite(file, &[expect("a"), expect("b"), dump("c"), dump("d")]).is_err(), "a block for each text");
    assert!(rewrite(file, &[expect("a")]).is_err(), "a text for each block");
}
