# The image contains one static binary and nothing else. buildah (`make image`), podman and docker can build it:
#   docker buildx build --platform linux/amd64,linux/arm64 .
# The builder can be any Debian image with Rust, gcc and the static libraries of glibc. The build installs a cross compiler if
# it is for another architecture than the builder's.
ARG BUILDER=docker.io/library/rust:1.95.0-bookworm
FROM --platform=$BUILDPLATFORM $BUILDER AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# Crates and compiled crates are kept in caches outside the image, for the next build.
RUN --mount=type=cache,id=nfs-subdir-csi-cargo,target=/cargo \
    --mount=type=cache,id=nfs-subdir-csi-target,target=/target \
    set -eu; \
    case "$TARGETARCH" in \
      amd64) gnu=x86_64 ;; \
      arm64) gnu=aarch64 ;; \
      *) echo "this architecture is not supported: $TARGETARCH" >&2; exit 1 ;; \
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
# mount(2) requires root. The commands `config check` and `probe` work for every user.
USER 0:0
ENTRYPOINT ["/nfs-subdir-csi"]
