# The command dmg in an image:
#   docker build -t domain-masks .                                     for CPUs
#   docker build -t domain-masks --build-arg TORCH_BACKEND=cu132 .     for NVIDIA GPUs, with CUDA 13.2
#   docker run --rm -v "$PWD":/work --user "$(id -u):$(id -g)" domain-masks train --fast
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
# A backend of `uv pip install --torch-backend`. PyTorch's builds for CUDA contain CUDA: the host needs a driver alone.
ARG TORCH_BACKEND=cpu
ARG EXTRAS=demo,hub,jpeg,onnx,parquet
RUN pip install --no-cache-dir uv && uv venv /opt/domain-masks
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# Compiled here, since the user of the image may not write there.
RUN uv pip install --no-cache --compile-bytecode --python /opt/domain-masks/bin/python \
    --torch-backend "${TORCH_BACKEND}" -c constraints.txt ".[${EXTRAS}]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/domain-masks /opt/domain-masks
# The home folder may be written by any user that `docker run --user` names, who has no name of its own.
RUN useradd --create-home dmg && chmod 777 /home/dmg && install --directory --owner dmg /work
ENV PATH=/opt/domain-masks/bin:$PATH HOME=/home/dmg USER=dmg DMG_DATA=/data
USER dmg
WORKDIR /work
EXPOSE 7860
ENTRYPOINT ["dmg"]
CMD ["--help"]
