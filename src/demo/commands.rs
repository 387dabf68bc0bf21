//! Commands of this very program, run as an operator would run them.

use std::process::{Child, Command, Stdio};

use super::{DemoError, files::Folder};

/// Runs `vicar WORDS` on the demo's settings and gives what it printed.
pub(super) async fn vicar(folder: &Folder, words: &[&str]) -> Result<String, DemoError> {
    let asked = words.join(" ");
    let failed = |said: String| DemoError::Command { words: asked.clone(), said };
    let mut command = command(folder).map_err(|e| failed(e.to_string()))?;
    command.args(words).stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || command.output()).await;
    match done {
        Ok(Ok(out)) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        Ok(Ok(out)) => Err(failed(String::from_utf8_lossy(&out.stderr).trim().to_owned())),
        Ok(Err(cause)) => Err(failed(cause.to_string())),
        Err(cause) => Err(failed(cause.to_string())),
    }
}

/// A command that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Following(Child);

/// Shows the audit log on the terminal as it grows.
pub(super) fn follow_audit(folder: &Folder) -> Result<Following, DemoError> {
    let words = ["audit", "tail"];
    let spawned = command(folder).and_then(|mut command| command.args(words).stdin(Stdio::null()).spawn());
    spawned.map(Following).map_err(|cause| DemoError::Command { words: words.join(" "), said: cause.to_string() })
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself, on the same Ctrl-C.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(folder: &Folder) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("VICAR_CONFIG", folder.settings());
    Ok(command)
}
