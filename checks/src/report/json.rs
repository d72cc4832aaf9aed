//! A report as a JSON document, for programs.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use synod_model::world::{ModelProperty, PropertyKind};

use super::RunReport;
use crate::cli::tier_name;
use crate::scenarios::Tier;

/// Prints the document.
///
/// # Errors
///
/// If it cannot be written.
pub fn print(report: &RunReport, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) fn tier<S: Serializer>(tier: &Option<Tier>, out: S) -> Result<S::Ok, S::Error> {
    match tier {
        Some(tier) => out.serialize_str(tier_name(*tier)),
        None => out.serialize_none(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) fn property<S: Serializer>(property: &ModelProperty, out: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Fields {
        name: &'static str,
        kind: &'static str,
    }
    let kind = match property.kind() {
        PropertyKind::Always => "always",
        PropertyKind::Sometimes => "sometimes",
        PropertyKind::Liveness => "liveness",
    };
    Fields { name: property.name(), kind }.serialize(out)
}
