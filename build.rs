//! Generates the gRPC code from `proto/*.proto`. The compiler is written in Rust, so that no `protoc` is needed.
//!
//! A message with a field that is marked `csi_secret` gets a `Debug` implementation that does not print the value.
//! The marks are read from the proto file, so that a secret which a later CSI version adds is hidden as soon as that
//! file is updated.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use protox::prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};

const PROTOS: [&str; 2] = ["csi.proto", "registration.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    // The static binary that ships: the addresses in it that the loader has to adjust are stored in the short form (DT_RELR) that glibc 2.36
    // knows. This makes the file smaller by 0.3 MB. A linker without this option ignores it.
    if std::env::var("CARGO_CFG_TARGET_FEATURE")
        .is_ok_and(|features| features.split(',').any(|feature| feature == "crt-static"))
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        // Functions with the same code are stored once. Only lld knows this, which is the linker of Rust on this target; others refuse it.
        let is = |key: &str, value: &str| std::env::var(key).is_ok_and(|present| present == value);
        if is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu") {
            println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        }
    }
    for proto in PROTOS {
        println!("cargo::rerun-if-changed=proto/{proto}");
    }
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(PROTOS)?;

    let secret_messages = messages_with_secrets(&compiler.descriptor_pool());
    let skip_debug: Vec<String> = secret_messages.iter().map(|m| m.full_name().to_owned()).collect();
    tonic_prost_build::configure()
        .btree_map(".")
        .build_transport(false)
        // A call that this driver does not implement answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        .skip_debug(skip_debug)
        .compile_fds(compiler.file_descriptor_set())?;

    let code: String = secret_messages.iter().map(redacting_debug).collect();
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("redacting_debug.rs"), code)?;
    Ok(())
}

/// Returns the messages of `csi.v1` that have at least one field with the option `csi_secret`.
fn messages_with_secrets(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    let secrets =
        |message: &MessageDescriptor| message.fields().any(|field| is_secret(pool, &field.options()));
    pool.all_messages().filter(|m| m.package_name() == "csi.v1" && secrets(m)).collect()
}

fn is_secret(pool: &DescriptorPool, options: &DynamicMessage) -> bool {
    let extension = pool.get_extension_by_name("csi.v1.csi_secret").expect("csi.proto declares csi_secret");
    matches!(options.get_extension(&extension).as_ref(), Value::Bool(true))
}

/// Writes `impl Debug` for a message. It prints every field as a derived one would, and `[redacted]` for a secret.
fn redacting_debug(message: &MessageDescriptor) -> String {
    let pool = message.parent_pool();
    let mut code = String::new();
    let name = message.name();
    writeln!(code, "impl ::std::fmt::Debug for {name} {{").unwrap();
    writeln!(code, "    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {{").unwrap();
    write!(code, "        f.debug_struct(\"{name}\")").unwrap();
    for field in message.fields() {
        // A field of a `oneof` is printed by the type of that `oneof`.
        if field.containing_oneof().is_some() {
            continue;
        }
        let field_name = field.name();
        if is_secret(pool, &field.options()) {
            write!(code, "\n            .field(\"{field_name}\", &format_args!(\"[redacted]\"))").unwrap();
        } else {
            write!(code, "\n            .field(\"{field_name}\", &self.{field_name})").unwrap();
        }
    }
    for oneof in message.oneofs() {
        let field_name = oneof.name();
        write!(code, "\n            .field(\"{field_name}\", &self.{field_name})").unwrap();
    }
    writeln!(code, "\n            .finish()\n    }}\n}}").unwrap();
    code
}
