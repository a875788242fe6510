# Everything here sets itself up in .venv: a Debian machine with python3, gcc and make is enough.
#     make run     print a story by the bundled model
#     make test    the test suite;  make test ARGS="tests/format -k writer" runs a part of it
#     make bench   speed, beside that of llama-cpp-python and what the machine allows, of three
#                  files that it makes;  make bench ARGS="-m FILE -r 10" takes yours
#     make lint    ruff, mypy, clang-format, and the warnings of every C compiler there is
#     make clean   remove all that these made
PYTHON ?= python3
BIN := .venv/bin
C_FILES := $(shell find csrc tests -name '*.c')
C_HEADERS := $(shell find csrc tests -name '*.h' -o -name '*.inc')

run: .venv/built
	$(BIN)/llamacpp generate -p "Once upon a time"

test: .venv/test
	$(BIN)/python -m pytest $(ARGS)

bench: .venv/bench
	$(BIN)/python -m bench.standard $(ARGS)

lint: .venv/lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy tests/typing_api.py
	@$(BIN)/clang-format --dry-run -Werror $(C_FILES) $(filter %.h,$(C_HEADERS))
	@sh tools/c_warnings.sh $(C_FILES)

clean:
	rm -rf .venv build dist llamacpp.egg-info llamacpp/*.so .mypy_cache .pytest_cache .ruff_cache
	rm -rf .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	PYTHON="$(PYTHON)" sh tools/make_venv.sh .venv

# The package is installed in place: Python edits count at once, other edits build it again.
.venv/built: .venv/bin/python $(filter csrc/%,$(C_FILES) $(C_HEADERS)) csrc/ffi_build.py setup.py \
		pyproject.toml
	$(BIN)/pip install --quiet --editable .
	@touch $@

# The package being installed already, this adds what the extra of that name asks for.
.venv/test .venv/lint .venv/bench .venv/parity .venv/eval: .venv/%: .venv/built
	$(BIN)/pip install --quiet "llamacpp[$*]"
	@touch $@

.PHONY: run test bench lint clean
