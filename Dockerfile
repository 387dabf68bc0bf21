# syntax=docker/dockerfile:1
#
#   docker build -t vicar .
#   docker run --read-only -v ./site:/etc/vicar:ro -v vicar-state:/var/lib/vicar -p 8080:8080 vicar
#
# `site` holds a vicar.yaml that listens on 0.0.0.0:8080 and keeps what Vicar writes under /var/lib/vicar (`directory.file`,
# `audit.journal.path`), and a policy.yaml; config/deploy/compose.yaml has one that works.
#
# The image holds the program, the few system libraries it names, the shipped catalogs, the CA
# certificates and one folder to write to: no shell, no package manager, no root. To get the same image again byte
# for byte, pin the base by digest, set SOURCE_DATE_EPOCH and let the builder rewrite timestamps.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY config config
# Cargo.toml names the benchmarks, so they have to be there.
COPY tests/bench tests/bench
# Paths of the build machine do not belong into the program.
ENV RUSTFLAGS="--remap-path-prefix=/source=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked && install -D -m 0755 target/release/vicar /image/vicar
# The libraries under the very paths where the loader will look for them.
RUN ldd /image/vicar | grep -o '/[^ ]*' | sort -u | xargs -I{} install -D -m 0755 {} /image{} \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
 && echo 'vicar:x:65532:65532:Vicar:/var/lib/vicar:/nonexistent' > /image/etc/passwd \
 && echo 'vicar:x:65532:' > /image/etc/group \
 && install -D -m 0644 -t /image/usr/share/vicar/catalog config/catalog/*.yaml \
 && install -d -m 0755 /image/etc/vicar \
 && install -d -m 0750 /state \
 && install -d -m 1777 /image/tmp

FROM scratch
LABEL org.opencontainers.image.title="vicar" \
      org.opencontainers.image.description="An authenticating reverse-proxy sidecar that gives a users-only API service accounts" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /state /var/lib/vicar
ENV VICAR_CONFIG=/etc/vicar/vicar.yaml \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# By number, so that runAsNonRoot can see that it is not root.
USER 65532:65532
WORKDIR /var/lib/vicar
VOLUME ["/var/lib/vicar"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/vicar", "health"]
ENTRYPOINT ["/vicar"]
CMD ["serve"]
