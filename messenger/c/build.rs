//! Names the shared library for those who are linked to it: `libvmsgr.so.0` is the interface, of
//! which a later release may have more, and never less.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libvmsgr.so.0");
}
