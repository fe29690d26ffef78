# Two images from one file:
#   docker build --target build   -t edgekiln-build   .    everything `edgekiln ci` needs
#   docker build --target runtime -t edgekiln-runtime .    runs and measures bundles; numpy only
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm AS build
# The compilers' versions are Debian's: each bundle records the one that linked it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        gcc libc6-dev \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
        gcc-arm-linux-gnueabihf libc6-dev-armhf-cross \
        gcc-arm-none-eabi libnewlib-arm-none-eabi \
        git openssh-client qemu-user qemu-system-arm \
    && rm -rf /var/lib/apt/lists/*
# An index with CPU builds of PyTorch; without one pip brings CUDA along, several GB.
ARG PIP_EXTRA_INDEX_URL=""
# The wheel is our own, and pins what can change a build's bytes.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    wheel=$(ls /wheels/edgekiln-*.whl) \
    && pip install --no-cache-dir "${wheel}[build]" \
    && useradd --uid 1000 --create-home edgekiln \
    && install --directory --owner edgekiln /store /work
ENV EDGEKILN_STORE=/store
USER 1000
VOLUME /store
WORKDIR /work
ENTRYPOINT ["edgekiln"]
CMD ["ci"]

FROM python:${PYTHON}-slim-bookworm AS runtime
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir /wheels/edgekiln-*.whl \
    && useradd --uid 1000 --create-home edgekiln
USER 1000
WORKDIR /home/edgekiln
ENTRYPOINT ["python", "-m", "edgekiln.runtime"]
CMD ["--help"]
