//! The options that the client needs to find the server.

use super::NfsOptions;

/// The names of the options that the client needs before the server answers: the port, the transport, and how NFS 3 finds the mount service.
/// All other options say how the client behaves afterwards.
const NAMES: [&str; 8] = ["port", "proto", "udp", "rdma", "mountport", "mountproto", "mountvers", "xprtsec"];

impl NfsOptions {
    /// The options that are needed to reach the server, such as `port=20490,vers=4.1`. Two lists with the same effect give the same text. The
    /// defaults of the client are left out: TCP, over IPv4 or IPv6, and port 2049. The version is included, because the path of a share
    /// depends on it.
    #[must_use]
    pub fn reach(&self) -> String {
        let is_default = |option: &str| {
            matches!(option, "port=2049" | "port=0" | "proto=tcp" | "proto=tcp6" | "xprtsec=none")
        };
        let with_value =
            |name: &str| self.get(name).map_or_else(|| name.to_owned(), |value| format!("{name}={value}"));
        let named = self.rest.names().filter(|name| NAMES.contains(name)).map(with_value);
        let mut options: Vec<String> = named.filter(|option| !is_default(option)).collect();
        options.extend(self.version.map(|version| format!("vers={version}")));
        options.join(",")
    }
}

#[cfg(test)]
mod tests {
    use crate::linux::nfs::options::parse;

    #[test]
    fn only_what_is_needed_to_reach_the_server_remains_and_in_one_form() {
        for (list, reach) in [
            ("", ""),
            ("hard,timeo=600,nconnect=4,sec=krb5,noresvport,rsize=1048576", ""),
            ("port=2049,proto=tcp,tcp", ""),
            ("nfsvers=4.1,port=20490,hard", "port=20490,vers=4.1"),
            ("vers=4,minorversion=2,port=1,port=20490", "port=20490,vers=4.2"),
            ("udp,v3,mountport=33,mountproto=tcp", "mountport=33,mountproto=tcp,udp,vers=3"),
            ("proto=rdma", "proto=rdma"),
            ("xprtsec=mtls", "xprtsec=mtls"),
            (r#"context="a:c1,port=7""#, ""),
        ] {
            let of = |list: &str| parse(&[list]).unwrap().0.reach();
            assert_eq!(of(list), reach, "{list}");
            assert_eq!(of(reach), reach, "it reads back");
        }
    }
}
