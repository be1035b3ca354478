# The images, by target:
#
#   docker build -t dikte .                              the service (the last stage, `serve`)
#   docker build -t dikte:train --target train .         the scripts: training, export, benchmark (PyTorch for CPUs)
#   docker build -t dikte:load --target load .           Locust with the load test
#
# `scripts/tools/check_image.py` runs the steps of this file in a bare Debian folder, without Docker. It supports only the
# instructions that this file uses.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/dikte

# The serving dependencies, with the versions and hashes of the lock file. No pip, no compiler: wheels only.
FROM base AS packages
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock

FROM base AS train
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# espeak-ng makes synthetic speech. Its version is that of Debian.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends espeak-ng \
    && rm -rf /var/lib/apt/lists/*
# This installs the project itself too, as a path. Its code is copied below.
COPY pyproject.toml constraints.txt requirements-train.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --index-url ${TORCH_INDEX} "$(grep ^torch== constraints.txt)"
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements-train.txt
# TensorBoard logs go to `runs`, whatever user the container runs as.
RUN useradd --uid 10001 --user-group --create-home dikte \
    && install --directory --mode 1777 runs
ENV HF_HOME=/tmp/huggingface
COPY samples samples
COPY models/tr-small models/tr-small
COPY app app
COPY scripts scripts
USER 10001:10001
CMD ["python", "scripts/export.py", "--help"]

FROM base AS load
COPY pyproject.toml constraints.txt requirements-load.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements-load.txt
RUN useradd --uid 10001 --user-group --no-create-home dikte
COPY samples samples
COPY app app
COPY scripts scripts
COPY locust locust
USER 10001:10001
EXPOSE 8089
ENTRYPOINT ["locust", "-f", "locust/locustfile.py"]

FROM base AS serve
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin dikte
ENV PATH=/opt/venv/bin:${PATH} \
    ASR_PORT=8000
COPY --from=packages /opt/venv /opt/venv
COPY deploy/healthcheck.py deploy/healthcheck.py
COPY models/tr-small models/tr-small
COPY app app
# The file system may be read-only, so Python cannot write compiled modules at the first start.
RUN python -m compileall -q app
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Dikte" \
      org.opencontainers.image.description="Speech to text with wav2vec2-CTC models on ordinary CPUs" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that Kubernetes can verify that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "deploy/healthcheck.py"]
# The process receives SIGTERM itself. It answers the accepted requests, and exits with 0.
CMD ["python", "-m", "app"]
