#!/usr/bin/env bash
# `make gpu` for a machine with a GPU, and without a network.
#
#   benchmarks/gpu_offline.sh pack [FILE.tar]     here, with a package index: packs the tree and wheels (60 MB)
#   tar xf FILE.tar && cd ftbridge-gpu && benchmarks/gpu_offline.sh run [OPTIONS OF gpu.py]     there
#
# There, Python 3.12 on x86-64 Linux is taken to have torch 2.11 for CUDA 13, torchvision, transformers 5.17,
# accelerate, tokenizers, huggingface-hub, safetensors, numpy, pandas, pyarrow, scipy, scikit-image, ninja, setuptools,
# opencv-python-headless, nvidia-ml-py, psutil, py-cpuinfo, einops, sentencepiece, tiktoken, protobuf, matplotlib and
# requests; of what ftbridge needs itself charset-normalizer, click, filelock, jinja2, pyyaml and rich; for the tests
# pytest, pytest-timeout and hypothesis. All else that both frameworks import is packed. PYTHON names an interpreter
# (default: python3); what it has is not changed.
set -euo pipefail
cd "$(dirname "$0")/.."

LIMIT=$((64 * 1024 * 1024)) # bytes that may be carried
# Versions are those of the training lock, and for ftbridge itself those that it has here.
WHEELS="bitsandbytes datasets dill multiprocess hjson pydantic pydantic-core annotated-types typing-inspection
	platformdirs peft pytz xtuner mmengine addict termcolor yapf llamafactory trl omegaconf torchdata openpyxl et-xmlfile"
OWN="msgspec python-calamine zstandard"

pack() {
	local out=${1:-ftbridge-gpu.tar} pip wheels size
	work=$(mktemp -d) # not local: what ends this script reads it
	pip=${PYTHON:-.venv/bin/python}
	trap 'rm -rf "$work"' EXIT
	wheels=$work/ftbridge-gpu/wheels
	mkdir -p "$wheels"
	"$pip" -m pip list --format=freeze >"$work/installed"
	# shellcheck disable=SC2046,SC2086 # each word is an argument
	"$pip" -m pip download --quiet --no-deps --only-binary=:all: --dest "$wheels" --python-version 3.12 \
		--implementation cp --abi cp312 --abi abi3 --abi none $(platforms) \
		$(pinned launchers/training.lock $WHEELS) $(pinned "$work/installed" $OWN)
	# The index has its source alone; nothing of it is compiled.
	DS_BUILD_OPS=0 "$pip" -m pip wheel --quiet --no-deps --wheel-dir "$wheels" "$(pinned launchers/training.lock deepspeed)"
	"$pip" -m pip wheel --quiet --no-deps --wheel-dir "$wheels" .
	git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$work/ftbridge-gpu"
	git rev-parse --short HEAD >"$work/ftbridge-gpu/COMMIT"
	tar -cf "$out" -C "$work" ftbridge-gpu
	size=$(stat -c %s "$out")
	echo "$out: $size bytes, $(find "$wheels" -name '*.whl' | wc -l) wheels"
	if [ "$size" -gt "$LIMIT" ]; then
		echo "more than the $LIMIT bytes that may be carried: leave a wheel out of WHEELS" >&2
		exit 1
	fi
}

# pip takes a wheel only for platforms that are named, each exactly.
platforms() {
	local minor
	for minor in 39 35 34 31 28 27 24 17 12 5; do echo "--platform manylinux_2_${minor}_x86_64"; done
	echo "--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64"
}

# NAME==VERSION of each name in a file of such lines.
pinned() {
	local file=$1 name
	shift
	for name; do
		grep -i "^$name==" "$file" || {
			echo "$file has no version of $name" >&2
			return 1
		}
	done
}

run() {
	local python=${PYTHON:-python3} venv=$PWD/venv status=0
	if [ ! -e "$venv/installed" ]; then
		"$python" -m venv --clear --without-pip --system-site-packages "$venv"
		# Where the interpreter is itself that of a virtual environment, its packages are not the system's. They come
		# with what they do at the start: distutils is setuptools' since Python 3.12.
		"$python" -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
			>"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beneath.pth"
		"$python" -m pip --python "$venv/bin/python" install --quiet --no-index --no-deps wheels/*.whl
		touch "$venv/installed"
	fi
	# Tests take the training environment from where `ftbridge setup` would have put it.
	mkdir -p share/ftbridge
	ln -sfn "$venv" share/ftbridge/training
	export HF_HUB_OFFLINE=1 XDG_DATA_HOME=$PWD/share
	"$venv/bin/python" benchmarks/gpu.py --python "$venv/bin/python" "$@" || status=$?
	# 1: some phase failed, which does not keep the tests from running.
	if [ "$status" -le 1 ]; then "$venv/bin/python" -m pytest -m gpu tests/gpu || status=1; fi
	exit "$status"
}

case ${1:-} in
pack | run) "$@" ;;
*)
	sed -n '2,/^set/{/^#/p}' "$0" | sed 's/^# \{0,1\}//' >&2
	exit 2
	;;
esac
