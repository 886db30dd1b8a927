//! The Unix socket.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A daemon answers there.
    #[error("another sluice answers on {}; stop it, or set another balancer.socket", .0.display())]
    InUse(PathBuf),
    /// The socket could not be made.
    #[error("cannot listen on {}; set balancer.socket to a path that can be written", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
}

/// Makes the socket, readable and writable by its owner and group. One that nobody answers on is replaced.
///
/// # Errors
///
/// [`ListenError`].
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::InUse(path.to_owned()));
    }
    bind(path).map_err(|source| ListenError::Socket { path: path.to_owned(), source })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
