//! What labels mean, by the tables that the system itself is made from.

use abi::notice::{FAULT_EXCEPTION, FAULT_PAGE, FAULT_REFUSED};
use abi::object::method_name;

/// A message to a service, by the service's name.
pub(super) fn message(service: &str, label: u32) -> String {
    let label = u64::from(label);
    let file = protocol::file::Request::name;
    let known = match (service, label) {
        (_, FAULT_PAGE) => Some("page fault"),
        (_, FAULT_EXCEPTION) => Some("exception"),
        (_, FAULT_REFUSED) => Some("refused page fault"),
        ("process", _) => protocol::process::Request::name(label),
        ("path", _) => protocol::path::Request::name(label),
        ("registry", _) => protocol::registry::Request::name(label),
        ("log", _) => protocol::log::Request::name(label).or_else(|| file(label)),
        ("init", _) => protocol::init::Request::name(label).or_else(|| file(label)),
        _ => file(label),
    };
    known.map_or_else(|| format!("message {label:#x}"), str::to_owned)
}

/// An answer.
pub(super) fn answer(label: u32) -> String {
    match label {
        0 => "done".into(),
        1..4096 => protocol::Errno(label as u16).text().into(),
        _ => format!("answer {label:#x}"),
    }
}

/// A method of a kernel object.
pub(super) fn method(label: u32) -> String {
    method_name(label as u16).map_or_else(|| format!("method {label:#x}"), str::to_lowercase)
}
