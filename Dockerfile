# The command line on a CPU. docs/usage.md ("In a container") has the lines to build and run it.
FROM python:3.12-slim AS build
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel /src

FROM python:3.12-slim
LABEL org.opencontainers.image.licenses="Apache-2.0"
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    pip install --no-cache-dir --no-compile "$(echo /wheel/*.whl)[dicom,cohort]"
# The user's own folder: the salt of patients' hashes, own models. Any user ID may write there.
RUN mkdir -m 1777 /own
ENV HOME=/own
VOLUME /own
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["spinalcordseg"]
