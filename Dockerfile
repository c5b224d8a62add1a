# The image: one static binary and nothing else. Built alike by buildah (`make image`), podman and docker:
#   docker buildx build --platform linux/amd64,linux/arm64 .
# Any Debian with Rust, gcc and glibc's static libraries will do as builder; compilers for another architecture are
# installed when one is asked for.
ARG BUILDER=docker.io/library/rust:1.95.0-bookworm
FROM --platform=$BUILDPLATFORM $BUILDER AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# The crates, and what is built of them, are kept for the next build outside the image.
RUN --mount=type=cache,id=nfs-subdir-csi-cargo,target=/cargo \
    --mount=type=cache,id=nfs-subdir-csi-target,target=/target \
    set -eu; \
    case "$TARGETARCH" in \
      amd64) gnu=x86_64 ;; \
      arm64) gnu=aarch64 ;; \
      *) echo "no such architecture here: $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    target=$gnu-unknown-linux-gnu; \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
      apt-get update; \
      apt-get install -y --no-install-recommends "gcc-${gnu}-linux-gnu" "libc6-dev-$TARGETARCH-cross"; \
      rustup target add "$target"; \
      export "CARGO_TARGET_$(echo "$target" | tr a-z- A-Z_)_LINKER=$gnu-linux-gnu-gcc"; \
    fi; \
    export CARGO_HOME=/cargo CARGO_TARGET_DIR=/target RUSTFLAGS='-C target-feature=+crt-static'; \
    cargo build --locked --release --target "$target" --bin nfs-subdir-csi; \
    cp "/target/$target/release/nfs-subdir-csi" /nfs-subdir-csi

FROM scratch
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="nfs-subdir-csi" \
      org.opencontainers.image.description="CSI driver that carves Kubernetes volumes out of NFS exports" \
      org.opencontainers.image.source="https://github.com/nfs-subdir-csi/nfs-subdir-csi" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /nfs-subdir-csi /nfs-subdir-csi
# Root, because mount(2) is root's; `config check` and `probe` work as anybody.
USER 0:0
ENTRYPOINT ["/nfs-subdir-csi"]
