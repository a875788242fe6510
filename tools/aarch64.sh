#!/usr/bin/env bash
# Build the whole package for AArch64 and run it under emulation: text by a real model, and logits
# against the float64 reference. Needs aarch64-linux-gnu-gcc, qemu-aarch64-static, apt and dpkg;
# an arm64 Python and what the package depends on are fetched into build/aarch64, and nothing is
# installed outside it.
set -eu -o pipefail
cd "$(dirname "$0")/.."
source=$PWD
work=$source/build/aarch64
data=${LLAMACPP_TEST_DATA:-$source/../shared/data}
host_python=$source/.venv/bin/python
root=$work/root

for tool in aarch64-linux-gnu-gcc qemu-aarch64-static apt-get dpkg "$host_python"; do
    command -v "$tool" >/dev/null || { echo "AArch64: $tool is missing" >&2; exit 1; }
done

fetch_debian_python() {
    local apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    : >"$apt/status"
    # A package system of its own, for arm64, in which nothing is installed yet.
    local options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
        -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status"
        -o Dir::Cache="$apt" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
    apt-get "${options[@]}" update
    apt-get "${options[@]}" install -y --no-install-recommends --download-only \
        python3-minimal libpython3-stdlib libpython3-dev libstdc++6
    for package in "$apt"/archives/*.deb; do
        dpkg -x "$package" "$root"
    done
}

fetch_dependencies() {
    local version=$1
    # Named as pyproject.toml names them: what the package and its tests need, and the builder.
    "$host_python" -c '
import importlib.metadata, re
for line in importlib.metadata.requires("llamacpp"):
    name, _, marker = line.partition(";")
    if not marker or "test" in marker:
        print(name.strip())
print("setuptools>=77")' >"$work/requirements.txt"
    "$host_python" -m pip install --quiet --target "$work/site" --upgrade \
        --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 \
        --only-binary=:all: --implementation cp --python-version "$version" \
        -r "$work/requirements.txt"
}

rm -rf "$work/tree" && mkdir -p "$work/tree"
[ -e "$root/usr/bin/python3" ] || fetch_debian_python
python=$(echo "$root"/usr/bin/python3.[0-9]*[0-9])
version=${python##*python}
[ -d "$work/site/numpy" ] || fetch_dependencies "$version"
emulated=(env PYTHONPATH="$work/site" qemu-aarch64-static -L "$root" "$python")

git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$work/tree"
cd "$work/tree"
echo "AArch64: building with Python $version"
CFLAGS="-I$root/usr/include" "${emulated[@]}" setup.py -q build_ext --inplace
file llamacpp/_lk.abi3.so | grep -q "ARM aarch64"
"${emulated[@]}" -m llamacpp cpu

echo "AArch64: a story by the bundled model"
"${emulated[@]}" -m llamacpp generate -p "Once upon a time" -n 20 -q
if [ -d "$data" ]; then
    for level in scalar neon neon_dot; do
        LLAMACPP_ISA=$level "${emulated[@]}" -m llamacpp generate \
            -m "$data/stories260K-f32.gguf" -p "" -n 256 --temp 0 -q |
            cmp - "$data/stories260K.expected.txt"
        echo "AArch64: $level writes the expected 256 tokens"
    done
fi
echo "AArch64: logits against the float64 reference, and experts"
elsewhere="Q4_1 or Q5_0 or Q5_1 or Q2_K or Q3_K or Q5_K or TQ or IQ1 or IQ2 or IQ3" # in checkasm
LLAMACPP_TEST_DATA=$data "${emulated[@]}" -m pytest -q -rs -p no:cacheprovider \
    tests/models/test_forward.py tests/test_experts.py \
    -k "neon and (test_forward and not ($elsewhere) or every_token and Q4_0 and not 100)"
