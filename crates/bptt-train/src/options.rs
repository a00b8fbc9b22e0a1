//! Parsing of choices with constants, on the command line and in files: `name`, `name:0.9` or `name:key=0.9,other=2`. A
//! value without a key belongs to the next key, in the order in which the code asks for them.

use std::str::FromStr;

use crate::Error;

/// A parsed choice: [`take`](Self::take) its values, then [`finish`](Self::finish).
pub(crate) struct Options<'a> {
    choice: &'static str,
    expected: &'a str,
    given: &'a str,
    name: &'a str,
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    /// Splits `given`, the value of `choice`; `expected` completes the error messages.
    pub(crate) fn parse(choice: &'static str, expected: &'a str, given: &'a str) -> Self {
        let (name, rest) = given.split_once(':').unwrap_or((given, ""));
        let values =
            rest.split_terminator(',').map(|pair| pair.split_once('=').unwrap_or(("", pair))).collect();
        Self { choice, expected, given, name, values }
    }

    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// The value of `key`, if one was given.
    ///
    /// # Errors
    /// If it is not a number, or `possible` refuses it.
    pub(crate) fn take<N: FromStr>(
        &mut self,
        key: &str,
        possible: impl Fn(&N) -> bool,
    ) -> Result<Option<N>, Error> {
        let Some(found) = self.values.iter().position(|(name, _)| *name == key || name.is_empty()) else {
            return Ok(None);
        };
        let (_, value) = self.values.remove(found);
        value.parse().ok().filter(possible).map(Some).ok_or_else(|| self.error())
    }

    /// # Errors
    /// If a value was not taken.
    pub(crate) fn finish<C>(self, choice: C) -> Result<C, Error> {
        if self.values.is_empty() { Ok(choice) } else { Err(self.error()) }
    }

    pub(crate) fn error(&self) -> Error {
        let (given, expected) = (self.given.into(), self.expected.into());
        Error::UnknownChoice { choice: self.choice, given, expected }
    }
}
