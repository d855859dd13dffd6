# syntax=docker/dockerfile:1
#
# Portcullis in an image with nothing else in it: one static program, no shell, no package manager, not root.
#
#   docker build --tag portcullis .
#   docker build --tag sample-upstream --target sample-upstream .     # the application of compose.yaml
#
# Base images are named by tag, to the patch release where there is such a tag. A digest would be better still, but where
# this file is written and tested there is no registry of images to read one from, and an unread digest is worth nothing:
# put yours in (`docker buildx imagetools inspect IMAGE:TAG` shows it) where you build for others.

FROM rust:1.95.0-slim-bookworm AS source
# The version of musl-tools is that of Debian 12, which changes for security alone.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# .dockerignore lets in what is compiled, and nothing else.
COPY . .

# Dependencies are kept between builds by cache mounts: a change of src/ compiles this crate again and nothing else.
FROM source AS build
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    scripts/static --into /built portcullis

FROM source AS build-sample-upstream
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    scripts/static --into /built sample-upstream

FROM gcr.io/distroless/static-debian13:nonroot AS sample-upstream
LABEL org.opencontainers.image.title="sample-upstream" \
      org.opencontainers.image.description="An application behind Portcullis, for a try: it shows the identity it received." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build-sample-upstream --chmod=0555 /built/sample-upstream /usr/local/bin/sample-upstream
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/sample-upstream"]
CMD ["--listen", "0.0.0.0:9000"]

# The last stage is what `docker build` makes. Settings come as /etc/portcullis/portcullis.toml or PORTCULLIS_CONFIG;
# the folder of its Unix sockets must be mounted, for it owns no folder of its own.
FROM gcr.io/distroless/static-debian13:nonroot AS portcullis
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="A forward-auth gateway for nginx: OpenID Connect sign-in, sealed sessions, one answer per request." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build --chmod=0555 /built/portcullis /usr/local/bin/portcullis
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/portcullis/
USER 65532:65532
# Asks the ops listener that the settings name, so it needs the same settings and environment as `serve`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/portcullis", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/portcullis"]
CMD ["serve"]
