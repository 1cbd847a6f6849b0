//! Usernames, names and passwords.

use std::fmt;
use std::str::FromStr;

use proto_contracts::Role;
use proto_contracts::accounts::{MAX_NAME_CHARS, PASSWORD_CHARS, USERNAME_CHARS};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization as _;

/// The lowest accepted score of `zxcvbn`: 10⁸ guesses and more.
const MIN_SCORE: zxcvbn::Score = zxcvbn::Score::Three;

/// 3 to 64 of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

impl Username {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a username.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 3 to 64 of a-z, 0-9, '.', '_' and '-'")]
pub struct InvalidUsername;

impl FromStr for Username {
    type Err = InvalidUsername;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (fewest, most) = USERNAME_CHARS;
        let fits = (fewest..=most).contains(&text.len());
        let plain = text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        });
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(InvalidUsername) }
    }
}

/// The name that others see: 1 to 200 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 200 characters, without control characters")]
pub struct InvalidName;

impl FromStr for DisplayName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name: String = text.trim().nfc().collect();
        // Both, since the document states the bound of the text that is sent.
        let lengths = [name.chars().count(), text.chars().count()];
        let fits = lengths.iter().all(|length| (1..=MAX_NAME_CHARS).contains(length));
        if fits && !name.contains(char::is_control) { Ok(Self(name)) } else { Err(InvalidName) }
    }
}

/// A password in the one form in which it is hashed (NFKC): keyboards compose characters
/// differently.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// The password of a login; any text.
    pub fn given(text: &str) -> Self {
        Self(text.nfkc().collect::<String>().into())
    }

    /// A new password for this user.
    ///
    /// # Errors
    /// When it is too short, too long or too easily guessed.
    pub fn chosen(text: &str, username: &Username, name: &str) -> Result<Self, WeakPassword> {
        let password = Self::given(text);
        let exposed = password.0.expose_secret();
        let (fewest, most) = PASSWORD_CHARS;
        // Both, since the document states the bounds of the text that is sent.
        for length in [text.chars().count(), exposed.chars().count()] {
            match length {
                length if length < fewest => return Err(WeakPassword::TooShort),
                length if length > most => return Err(WeakPassword::TooLong),
                _ => {}
            }
        }
        let estimate = zxcvbn::zxcvbn(exposed, &[username.as_str(), name, "tandem"]);
        if estimate.score() < MIN_SCORE {
            let advice = estimate.feedback().and_then(|feedback| feedback.warning());
            return Err(WeakPassword::Guessable(advice.map(|advice| advice.to_string())));
        }
        Ok(password)
    }

    /// The bytes to hash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

/// Why a password is rejected. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Fewer than 8 characters.
    #[error("The password has fewer than 8 characters.")]
    TooShort,
    /// More than 128 characters.
    #[error("The password has more than 128 characters.")]
    TooLong,
    /// An attacker would guess it early.
    #[error("The password is easily guessed{}", .0.as_ref().map_or(".".to_owned(), |why| format!(": {why}")))]
    Guessable(Option<String>),
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: Username,
    pub name: String,
    pub role: Role,
    pub created_at: jiff::Timestamp,
    /// A disabled user cannot log in.
    pub is_disabled: bool,
}

impl Account {
    /// As it is kept for the repetition of a response.
    pub fn to_json(&self) -> Value {
        let Self { id, name, role, created_at, is_disabled } = self;
        let (id, created_at) = (id.as_str(), created_at.to_string());
        json!({ "id": id, "name": name, "role": role, "created_at": created_at,
                "disabled": is_disabled })
    }

    /// What was kept.
    ///
    /// # Errors
    /// When something else was.
    pub fn from_json(kept: Value) -> Result<Self, NotAnAccount> {
        let text = |member: &str| kept.get(member).and_then(Value::as_str).ok_or(NotAnAccount);
        Ok(Self {
            id: text("id")?.parse().map_err(|_| NotAnAccount)?,
            name: text("name")?.to_owned(),
            role: text("role")?.parse().map_err(|_| NotAnAccount)?,
            created_at: text("created_at")?.parse().map_err(|_| NotAnAccount)?,
            is_disabled: kept.get("disabled").and_then(Value::as_bool).ok_or(NotAnAccount)?,
        })
    }
}

/// The JSON is not an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an account")]
pub struct NotAnAccount;

/// A change of a user; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    pub name: Option<DisplayName>,
    pub role: Option<Role>,
    pub is_disabled: Option<bool>,
}

impl AccountChange {
    /// Whether only an admin may make it.
    pub fn needs_admin(&self) -> bool {
        self.role.is_some() || self.is_disabled.is_some()
    }
}

/// A page of users: up to `limit` after one, ordered by username.
#[derive(Clone, Debug)]
pub struct UserPageRequest {
    pub limit: u32,
    /// Empty for the first page; it sorts before every username.
    pub after: String,
    pub role: Option<Role>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Username {
        "ada".parse().expect("a username")
    }

    #[test]
    fn a_kept_account_is_the_same() {
        let account = Account {
            id: ada(),
            name: "Ada \"Ω\" Lovelace".to_owned(),
            role: Role::Instructor,
            created_at: "2026-11-28T17:00:00.123456Z".parse().expect("a time"),
            is_disabled: true,
        };
        assert_eq!(Account::from_json(account.to_json()), Ok(account.clone()));
        let mut other = account.to_json();
        other["role"] = "king".into();
        assert_eq!(Account::from_json(other), Err(NotAnAccount));
    }

    #[test]
    fn usernames_are_plain_and_of_lower_case() {
        for good in ["ada", "a.b_c-1", &"n".repeat(64)] {
            assert!(good.parse::<Username>().is_ok(), "{good}");
        }
        for bad in ["", "ab", "Ada", "a b", "ad\0a", "ädä", "a'--", &"n".repeat(65)] {
            assert_eq!(bad.parse::<Username>(), Err(InvalidUsername), "{bad:?}");
        }
    }

    #[test]
    fn names_are_any_text_without_control_characters() {
        for good in ["Ada Lovelace", "Ω", "李四", "O'Brien; DROP TABLE users", &"n".repeat(200)]
        {
            assert!(good.parse::<DisplayName>().is_ok(), "{good}");
        }
        // 300 characters as they are sent, 150 as they are stored.
        let decomposed = "a\u{308}".repeat(150);
        for bad in ["", "  ", "a\0b", "a\nb", &"n".repeat(201), &decomposed] {
            assert_eq!(bad.parse::<DisplayName>(), Err(InvalidName), "{bad:?}");
        }
    }

    #[test]
    fn weak_passwords_are_rejected() {
        let chosen = |text: &str| Password::chosen(text, &ada(), "Ada Lovelace").map(drop);
        assert_eq!(chosen("short7!"), Err(WeakPassword::TooShort));
        assert_eq!(chosen(&"x".repeat(129)), Err(WeakPassword::TooLong));
        // Its form that is hashed is longer, or shorter.
        assert_eq!(chosen("¯¸x7!¯¸"), Err(WeakPassword::TooShort));
        assert_eq!(chosen(&"a\u{308}".repeat(100)), Err(WeakPassword::TooLong));
        // The most common ones, those of breaches, and what everyone knows of this user and system.
        for guessable in [
            "password",
            "12345678",
            "qwertyuiop",
            "iloveyou",
            "sunshine",
            "princess",
            "football",
            "baseball",
            "trustno1",
            "superman",
            "1q2w3e4r",
            "Password1",
            "p@ssw0rd",
            "letmein1",
            "michelle",
            "whatever",
            "mercedes",
            "scorpion",
            "marlboro",
            "bigdaddy",
            "aaaaaaaaaaaa",
            "adalovelace",
            "lovelace1",
            "tandem01",
            "tandemtandem",
        ] {
            assert!(matches!(chosen(guessable), Err(WeakPassword::Guessable(_))), "{guessable}");
        }
        for good in ["correct horse battery staple", "пароль от велосипеда", "🚲🚲 zwei Räder 44"]
        {
            assert_eq!(chosen(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_password_has_one_form_whatever_the_keyboard() {
        let (composed, decomposed) =
            (Password::given("Rädchen"), Password::given("Ra\u{308}dchen"));
        assert_eq!(composed.as_bytes(), decomposed.as_bytes());
        assert!(!format!("{composed:?}").contains("chen"));
    }
}
