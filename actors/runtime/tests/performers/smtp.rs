//! A mail server on a loopback port: it speaks SMTP (RFC 5321) line by line, without TLS, and keeps what it was given.

use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What it has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Every line of a client but those of letters.
    pub(crate) lines: Vec<String>,
    /// Letters, with their headers.
    pub(crate) letters: Vec<String>,
}

pub(crate) struct Smtp {
    pub(crate) address: SocketAddr,
    seen: watch::Receiver<Seen>,
}

impl Smtp {
    /// Takes every letter.
    pub(crate) async fn start() -> Self {
        Self::answering("250 OK").await
    }

    /// Answers this to whom a letter is for.
    pub(crate) async fn answering(to_recipients: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen_in, seen) = watch::channel(Seen::default());
        let seen_in = Arc::new(seen_in);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let seen_in = seen_in.clone();
                // A client that goes away in the middle does not make the server fail.
                tokio::spawn(async move { drop(serve(socket, to_recipients, &seen_in).await) });
            }
        });
        Self { address, seen }
    }

    /// What it has seen by now.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits for so many letters in all, and gives the last.
    pub(crate) async fn letter(&self, count: usize) -> String {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(
            std::time::Duration::from_secs(20),
            seen.wait_for(|seen| seen.letters.len() >= count),
        )
        .await;
        let seen = waited.unwrap_or_else(|_| panic!("no letter {count}")).unwrap();
        seen.letters[count - 1].clone()
    }
}

async fn serve(socket: TcpStream, to_recipients: &str, seen: &watch::Sender<Seen>) -> std::io::Result<()> {
    let (read, mut write) = socket.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 fake ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        seen.send_modify(|seen| seen.lines.push(line.clone()));
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-fake\r\n250-8BITMIME\r\n250 SMTPUTF8",
            "RCPT" => to_recipients,
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut letter = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    letter.push_str(line.strip_prefix('.').unwrap_or(&line));
                    letter.push('\n');
                }
                seen.send_modify(|seen| seen.letters.push(letter));
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 OK",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        if verb == "QUIT" {
            break;
        }
    }
    Ok(())
}

/// The code in a letter that came in lines of any length.
pub(crate) fn code_in(letter: &str, prefix: &str) -> String {
    // Quoted-printable breaks lines by an equals sign, and writes one as `=3D`.
    let text = letter.replace("=\n", "").replace("=3D", "=");
    let at = text.find(&format!("code={prefix}")).unwrap_or_else(|| panic!("no code: {letter}")) + "code=".len();
    text[at..].split_whitespace().next().unwrap().to_owned()
}
