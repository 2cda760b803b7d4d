# streetgauge on the CPU. docker build -t streetgauge . && docker run --rm -v "$PWD:/work" streetgauge demo
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
LABEL org.opencontainers.image.source="https://github.com/streetgauge/streetgauge" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /wheels /wheels
# PyTorch without CUDA: 0.2 GB instead of 3 GB.
RUN python -m pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
      /wheels/*.whl \
    && rm -r /wheels \
    && useradd --create-home --uid 1000 streetgauge \
    && mkdir /work && chown streetgauge /work
USER 1000
WORKDIR /work
ENTRYPOINT ["streetgauge"]
CMD ["--help"]
