# The images, by target:
#
#   docker build -t dikte .                              the service (the last stage, `serve`)
#   docker build -t dikte:train --target train .         the scripts: training, export, benchmark (PyTorch for CPUs)
#   docker build -t dikte:load --target load .           Locust with the load test
#
# `scripts/tools/check_image.py` follows the steps of this file in a bare Debian folder, without Docker. It knows the
# instructions used here and no others.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/dikte

# What serving needs, every version and hash from the lock file. No pip, no compiler: wheels only.
FROM base AS packages
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock

FROM base AS train
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Synthetic speech comes from espeak-ng, whose version is Debian's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends espeak-ng \
    && rm -rf /var/lib/apt/lists/*
# The project itself is installed too, by its path alone: its code is copied below.
COPY pyproject.toml constraints.txt requirements-train.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --index-url ${TORCH_INDEX} "$(grep ^torch== constraints.txt)"
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements-train.txt
# TensorBoard's logs are written to `runs` by whoever the container runs as.
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
# The file system may be read-only: what Python would write at the first start is there already.
RUN python -m compileall -q app
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Dikte" \
      org.opencontainers.image.description="Speech to text with wav2vec2-CTC models on ordinary CPUs" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "deploy/healthcheck.py"]
# The process itself gets SIGTERM: it answers what it let in, then ends with 0.
CMD ["python", "-m", "app"]
