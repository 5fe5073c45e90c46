//! Under construction.

pub(crate) fn probe() -> Result<(), String> {
    Err("not built yet".to_owned())
}
