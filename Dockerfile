# sloctl without compilers, package managers' caches or root. Works with a read-only root file system; what it writes
# goes to /tmp, and the ledger where SLOCTL_LEDGER_URL says (docs/kubernetes.md).
ARG PYTHON=3.13.5-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY sloctl sloctl
COPY alert_rules alert_rules
COPY dashboards dashboards
COPY jobs jobs
RUN python -m pip wheel --no-deps --wheel-dir /dist .
# Only wheels: nothing is compiled, and no package runs code of its own while it is installed. Only files whose hashes
# are known: the same image, whatever an index has by then.
RUN python -m venv --without-pip /opt/sloctl \
    && python -m pip --python /opt/sloctl/bin/python install --only-binary :all: --require-hashes -r requirements.lock \
    && python -m pip --python /opt/sloctl/bin/python install --no-deps --no-index /dist/*.whl
# The tests of pandas, NumPy and PyArrow are a fifth of what was installed.
RUN find /opt/sloctl/lib -type d -name tests -prune -exec rm -rf {} +

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="sloctl" \
    org.opencontainers.image.description="SLOs for Istio meshes from one file" \
    org.opencontainers.image.source="https://github.com/sloctl/sloctl" \
    org.opencontainers.image.documentation="https://github.com/sloctl/sloctl/blob/main/docs/kubernetes.md" \
    org.opencontainers.image.licenses="Apache-2.0 AND Bitstream-Vera"
COPY --from=build /opt/sloctl /opt/sloctl
ENV PATH=/opt/sloctl/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /slo
USER 65532:65532
ENTRYPOINT ["sloctl"]
CMD ["--help"]
