# Sallyport as two images, each with one executable and the C library under it: no shell, no package manager, no root.
#
#   docker build --target relay  -t sallyport-relay .
#   docker build --target tunnel -t sallyport-tunnel .
#
# `docker buildx build --platform linux/amd64,linux/arm64` makes both architectures, without emulation: the executables
# of every architecture are made here. How to run them: config/docker/.

ARG BUILD_IMAGE=docker.io/library/node:24-bookworm-slim
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG TARGETARCH
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN architecture="$(echo "$TARGETARCH" | sed 's/amd64/x64/')" \
  && npm run build:binary -- "$architecture" \
  && for program in relay tunnel; do mv "dist-packages/$program-linux-$architecture" "dist-packages/$program"; done \
  && mkdir -p /state

FROM ${RUN_IMAGE} AS relay
COPY --from=build /build/dist-packages/LICENCES.txt /usr/share/doc/sallyport/
COPY --from=build /build/dist-packages/relay /usr/bin/
# Everything the relay keeps, relay.yaml included. It belongs to the image's user, and so does a new volume there.
COPY --from=build --chown=65532:65532 /state /var/lib/sallyport
WORKDIR /var/lib/sallyport
USER 65532:65532
VOLUME /var/lib/sallyport
EXPOSE 443 80
HEALTHCHECK --interval=60s --timeout=10s --start-period=20s --retries=3 CMD ["/usr/bin/relay", "status"]
ENTRYPOINT ["/usr/bin/relay"]
CMD ["serve"]

FROM ${RUN_IMAGE} AS tunnel
COPY --from=build /build/dist-packages/LICENCES.txt /usr/share/doc/sallyport/
COPY --from=build /build/dist-packages/tunnel /usr/bin/
COPY --from=build --chown=65532:65532 /state /var/lib/sallyport
# `tunnel join` writes /var/lib/sallyport/tunnel.yaml.
ENV XDG_CONFIG_HOME=/var/lib
WORKDIR /var/lib/sallyport
USER 65532:65532
VOLUME /var/lib/sallyport
HEALTHCHECK --interval=60s --timeout=10s --start-period=20s --retries=3 CMD ["/usr/bin/tunnel", "status"]
ENTRYPOINT ["/usr/bin/tunnel"]
CMD ["up"]
