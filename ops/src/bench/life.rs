//! What a child process of a measurement does.

use super::{BenchError, child::Role, load, yardstick};
use serde::Serialize;
use std::io::{Read, Write};

/// A child's whole life.
pub(crate) async fn be(as_role: Role) -> Result<(), BenchError> {
    let mut stdin = std::io::stdin();
    match as_role {
        Role::Load => {
            let mut text = Vec::new();
            stdin.read_to_end(&mut text)?;
            let plan: load::Plan = serde_json::from_slice(&text)?;
            let outcome = tokio::task::spawn_blocking(move || std::thread::spawn(move || load::serve(plan)).join())
                .await
                .map_err(|e| BenchError::Child(e.to_string()))?
                .map_err(|_| BenchError::Child("the load crashed".into()))??;
            say(&outcome)
        }
        Role::Yardstick => {
            let mut line = String::new();
            stdin.read_line(&mut line)?;
            let plan: yardstick::Plan = serde_json::from_str(&line)?;
            std::thread::spawn(move || {
                // The parent's end closes the pipe.
                let _ = stdin.read_to_end(&mut Vec::new());
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a measured child has nothing to keep, and its server never returns"
                )]
                std::process::exit(0);
            });
            Ok(yardstick::serve(plan, |address| say(&address).map_err(std::io::Error::other)).await?)
        }
    }
}

fn say(value: &impl Serialize) -> Result<(), BenchError> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
