//! The one spelling of a choice with numbers, on the command line and in files alike: `name`, `name:0.9` or
//! `name:key=0.9,other=2`. A value without its key takes the next place in the order the keys are asked for.

use std::str::FromStr;

use crate::Error;

/// A parsed choice; [`take`](Self::take) its values, then [`finish`](Self::finish).
pub(crate) struct Options<'a> {
    option: &'static str,
    expected: &'a str,
    given: &'a str,
    name: &'a str,
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    /// Splits `given`, the value of `option`; `expected` completes the error messages.
    pub(crate) fn parse(option: &'static str, expected: &'a str, given: &'a str) -> Self {
        let (name, rest) = given.split_once(':').unwrap_or((given, ""));
        let values =
            rest.split_terminator(',').map(|pair| pair.split_once('=').unwrap_or(("", pair))).collect();
        Self { option, expected, given, name, values }
    }

    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// The value of `key`, if one was given.
    ///
    /// # Errors
    /// If it is not a number, or one that `possible` refuses.
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
    /// If a value was given that nothing took.
    pub(crate) fn finish<C>(self, choice: C) -> Result<C, Error> {
        if self.values.is_empty() { Ok(choice) } else { Err(self.error()) }
    }

    pub(crate) fn error(&self) -> Error {
        Error::Option { option: self.option.into(), given: self.given.into(), expected: self.expected.into() }
    }
}
