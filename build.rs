//! Generates the gRPC code from `proto/*.proto`, with a compiler written in Rust: no `protoc` is needed.
//!
//! Messages that hold a field marked `csi_secret` get a `Debug` of their own that leaves the value out.
//! Which fields those are is read from the option in the proto file, so a secret that a later CSI version
//! adds is covered on the day the file changes.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use protox::prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};

const PROTOS: [&str; 2] = ["csi.proto", "registration.proto"];

fn main() -> Result<(), Box<dyn Error>> {
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
        // A call that this driver does not offer is answered UNIMPLEMENTED.
        .generate_default_stubs(true)
        .skip_debug(skip_debug)
        .compile_fds(compiler.file_descriptor_set())?;

    let code: String = secret_messages.iter().map(redacting_debug).collect();
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("redacting_debug.rs"), code)?;
    Ok(())
}

/// The messages of `csi.v1` that have at least one field with the `csi_secret` option set.
fn messages_with_secrets(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    let secrets =
        |message: &MessageDescriptor| message.fields().any(|field| is_secret(pool, &field.options()));
    pool.all_messages().filter(|m| m.package_name() == "csi.v1" && secrets(m)).collect()
}

fn is_secret(pool: &DescriptorPool, options: &DynamicMessage) -> bool {
    let extension = pool.get_extension_by_name("csi.v1.csi_secret").expect("csi.proto declares csi_secret");
    matches!(options.get_extension(&extension).as_ref(), Value::Bool(true))
}

/// `impl Debug` for one message: every field as the derived one would print it, secrets as `[redacted]`.
fn redacting_debug(message: &MessageDescriptor) -> String {
    let pool = message.parent_pool();
    let mut code = String::new();
    let name = message.name();
    writeln!(code, "impl ::std::fmt::Debug for {name} {{").unwrap();
    writeln!(code, "    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {{").unwrap();
    write!(code, "        f.debug_struct(\"{name}\")").unwrap();
    for field in message.fields() {
        // A field within a `oneof` is printed by that `oneof`'s own type.
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
