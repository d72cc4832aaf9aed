//! What went wrong last at each endpoint. Requests that time out report it: the last trouble alone may be
//! that of a replica that was not the reason.

use crate::endpoint::Endpoint;

/// What went wrong last at each endpoint, in the order in which they failed.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The endpoint that is asked now.
    endpoint: String,
    all: Vec<(String, String)>,
}

impl Troubles {
    /// From now on, this endpoint is asked.
    pub(super) fn now_at(&mut self, endpoint: &Endpoint) {
        endpoint.as_str().clone_into(&mut self.endpoint);
    }

    /// Something went wrong at the endpoint.
    pub(super) fn note(&mut self, trouble: String) {
        self.forget();
        self.all.push((self.endpoint.clone(), trouble));
    }

    /// The endpoint has done what it was asked.
    pub(super) fn forget(&mut self) {
        self.all.retain(|(endpoint, _)| *endpoint != self.endpoint);
    }

    /// What went wrong, at each endpoint.
    pub(super) fn text(&self) -> String {
        if self.all.is_empty() {
            return "there was no answer".to_owned();
        }
        let all = self.all.iter().map(|(endpoint, trouble)| format!("{endpoint}: {trouble}"));
        all.collect::<Vec<_>>().join("; ")
    }
}
