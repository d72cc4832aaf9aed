//! `synod-check`.

fn main() {}
