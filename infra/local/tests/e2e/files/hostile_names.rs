//! A thousand hostile names of files, in headers and in forms: each is rejected, or kept as text.

use super::*;

/// Pieces of which names are made.
const PIECES: [&str; 40] = [
    "..",
    "/",
    "\\",
    "%2e%2e",
    "%2f",
    "%5c",
    "%00",
    "\u{202e}",
    "\u{200f}",
    "\u{feff}",
    "CON",
    "NUL",
    "LPT1",
    ".htaccess",
    "~",
    "$(id)",
    "`id`",
    "${HOME}",
    "-rf",
    "*",
    "?",
    "|",
    "<script>",
    "'",
    ";",
    "\u{0}",
    "\r\n",
    "\n",
    "\t",
    "\u{7f}",
    "Ω",
    "😀",
    "e\u{301}",
    "\u{2028}",
    "con.txt",
    "a",
    " ",
    "..%c0%af",
    "file:///etc/passwd",
    "\u{e0041}",
];

/// The same thousand each time.
fn names() -> Vec<String> {
    let mut names: Vec<String> = PIECES.map(str::to_owned).to_vec();
    names.extend([
        "../".repeat(50) + "etc/passwd",
        "x".repeat(255),
        "x".repeat(256),
        "Ω".repeat(128),
        "x".repeat(64 * 1024),
        "%".repeat(1000),
        String::new(),
    ]);
    let mut random = bytes(1000 * 4).into_iter();
    while names.len() < 1000 {
        let mut pick = || usize::from(random.next().unwrap_or_default()) % PIECES.len();
        let name = [pick(), pick(), pick(), pick()].map(|index| PIECES[index]).concat();
        names.push(name);
        if random.len() < 4 {
            random = bytes(names.len() * 8 + 4000).into_iter();
        }
    }
    names
}

#[tokio::test]
async fn hostile_names_are_rejected_or_kept_as_text() -> Result<()> {
    let stack = stack_with_short_leases().with_nginx().start().await?;
    let user = User::new(&Api::through_nginx(&stack)?, "mallory").await?;
    let around = beside(&stack)?;
    let (mut kept, mut refused) = (Vec::new(), 0);
    for (number, name) in names().iter().enumerate() {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let form = |disposition: &[u8]| {
            let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"; ";
            [&head[..], disposition, b"\r\n\r\nx\r\n--b--\r\n"].concat()
        };
        let response = match number % 3 {
            0 => {
                let header = format!("attachment; filename*=UTF-8''{encoded}");
                let request = user.request(Method::POST, "").header(CONTENT_DISPOSITION, header);
                Response::to(request.body("x")).await
            }
            1 => user.send_form(form(format!("filename*=UTF-8''{encoded}").as_bytes())).await,
            // As a browser sends it, and as nobody should.
            _ => user.send_form(form(format!("filename=\"{name}\"").as_bytes())).await,
        };
        let response = response?;
        if response.status == 201 {
            let file: File = response.json();
            let has_path = file.name.contains(['/', '\\', '\0', '\r', '\n']);
            assert!(!has_path && file.name.len() <= 255, "{name:?}: {file:?}");
            let downloaded = user.content(&file.id, &[]).await?;
            let named = downloaded.header(CONTENT_DISPOSITION.as_str()).context("a name")?;
            assert!(named.starts_with("attachment; filename=\"") && named.is_ascii(), "{named}");
            assert_eq!(downloaded.body, b"x", "{name:?}");
            kept.push(file);
        } else {
            assert!((400..500).contains(&response.status), "{name:?}: {response}");
            refused += 1;
        }
    }
    eprintln!("{} kept, {refused} refused", kept.len());
    assert!(kept.len() > 50 && refused > 300, "both happen");
    // Each file is where its id says, and nothing else is anywhere.
    settled(&stack, &kept.iter().collect::<Vec<_>>()).await?;
    for id in stored(&stack.files())? {
        let path = stack.files().join(&id[id.len() - 2..]).join(&id);
        assert_eq!(std::fs::read(path)?, b"x");
    }
    assert_eq!(beside(&stack)?, around);
    assert_eq!(user.all().await?.len(), kept.len());
    stack.shutdown().await;
    Ok(())
}

/// What is in the folder around that of the files.
fn beside(stack: &Stack) -> Result<BTreeSet<std::ffi::OsString>> {
    let files = stack.files();
    let around = std::fs::read_dir(files.parent().context("a folder")?)?;
    around.map(|entry| Ok(entry?.file_name())).collect()
}
