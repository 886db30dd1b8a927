//! The file of tokens: a name, a role and the SHA-256 of a token in each line. Whoever reads it learns no token.

use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::AccessError;
use crate::admin::caller::Role;

const KEY: &str = "tokens";
const MOST_BYTES: u64 = 1 << 20;

type Hash = [u8; SHA256_OUTPUT_LEN];

/// All that have a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens(Vec<Holder>);

#[derive(Debug, PartialEq, Eq)]
struct Holder {
    name: String,
    role: Role,
    hash: Hash,
}

impl Tokens {
    /// Reads the file at `path`, which nobody else may read or write.
    pub(super) fn load(path: &Path) -> Result<Self, AccessError> {
        let unreadable = |source| AccessError::Unreadable { key: KEY, path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode();
        let refused = |what, remedy| AccessError::Mode { key: KEY, path: path.to_owned(), what, remedy };
        if mode & 0o022 != 0 {
            return Err(refused("write", "go-w"));
        }
        if mode & 0o004 != 0 {
            return Err(refused("read", "o-r"));
        }
        let mut text = String::new();
        file.take(MOST_BYTES).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text).map_err(|problem| AccessError::Broken { key: KEY, path: path.to_owned(), problem })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut holders: Vec<Holder> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let holder = holder(line).map_err(|problem| format!("line {number}: {problem}"))?;
            if holders.iter().any(|other| other.name == holder.name) {
                return Err(format!(
                    "line {number}: there is another {}; give each token its name",
                    holder.name
                ));
            }
            holders.push(holder);
        }
        if holders.is_empty() {
            return Err("there is no token in it; expected lines such as `deploy operator SHA256`".to_owned());
        }
        Ok(Self(holders))
    }

    /// Whose `token` it is. All hashes are compared, in a time that depends on none.
    pub(super) fn find(&self, token: &str) -> Option<(&str, Role)> {
        let hash = hash(token);
        let (mut found, mut at) = (Choice::from(0), 0_u32);
        for (number, holder) in (0..).zip(&self.0) {
            let is = holder.hash.ct_eq(&hash);
            at.conditional_assign(&number, is);
            found |= is;
        }
        let holder = self.0.get(at as usize).filter(|_| found.into())?;
        Some((&holder.name, holder.role))
    }
}

fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

fn holder(line: &str) -> Result<Holder, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let &[name, role, hash] = words.as_slice() else {
        return Err("expected a name, a role and the SHA-256 of a token".to_owned());
    };
    let role = match role {
        "read-only" => Role::ReadOnly,
        "operator" => Role::Operator,
        other => return Err(format!("{other:?} is no role; expected `read-only` or `operator`")),
    };
    // The word itself is not told: somebody may have put the token there.
    let hash = bytes(hash).ok_or(
        "its third word is no SHA-256; expected 64 hex digits: `printf %s TOKEN | sha256sum`".to_owned(),
    )?;
    Ok(Holder { name: name.to_owned(), role, hash })
}

fn bytes(hex: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if hex.len() != 2 * hash.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `sesame` and `friend`, by sha256sum.
    const SESAME: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    const FRIEND: &str = "0e84bd6baeb7fafdcc8f4e65ffb22ca4ba3b2bd8e40d2aef1db4d3c1ebadbb3c";

    #[test]
    fn token_is_found_by_its_hash() {
        let text = format!("# who\nali operator {SESAME}\n\nguest read-only {} # nobody\n", "0".repeat(64));
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(tokens.find("sesame"), Some(("ali", Role::Operator)));
        for wrong in ["", "Sesame", "sesame ", "friend", SESAME] {
            assert_eq!(tokens.find(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn broken_line_is_told_by_its_number_and_never_shown() {
        for (text, told) in [
            ("", "no token in it"),
            ("ali operator", "line 1: expected a name, a role"),
            ("ali admin 00", "line 1: \"admin\" is no role"),
            ("\nali operator sesame", "line 2: its third word is no SHA-256"),
        ] {
            let problem = Tokens::parse(text).unwrap_err();
            assert!(problem.contains(told), "{problem}");
            assert!(!problem.contains("sesame"), "{problem}");
        }
        let twice = format!("ali operator {SESAME}\nali read-only {FRIEND}");
        assert!(Tokens::parse(&twice).unwrap_err().contains("line 2: there is another ali"));
    }
}
