//! Error answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bptt_view::report::TooLarge;
use serde_json::json;

/// An error answer: its status and its message.
#[derive(Debug)]
pub(crate) struct Problem {
    pub status: StatusCode,
    pub words: String,
}

impl Problem {
    /// An impossible request: 422.
    pub fn of_request(words: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, words: words.into() }
    }

    /// Any other error.
    pub fn new(status: StatusCode, words: &str) -> Self {
        Self { status, words: words.into() }
    }
}

impl From<bptt::Error> for Problem {
    fn from(error: bptt::Error) -> Self {
        Self::of_request(error.to_string())
    }
}

impl From<bptt_io::Error> for Problem {
    fn from(error: bptt_io::Error) -> Self {
        Self::of_request(error.to_string())
    }
}

impl From<bptt_train::Error> for Problem {
    fn from(error: bptt_train::Error) -> Self {
        Self::of_request(error.to_string())
    }
}

impl From<TooLarge> for Problem {
    fn from(error: TooLarge) -> Self {
        Self::of_request(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.words }))).into_response()
    }
}
