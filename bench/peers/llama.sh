#!/bin/sh
# Builds llama.cpp for this very machine from the sources that come with node-llama-cpp:
# the prebuilt library is for many. Needs git, cmake and a C++ compiler, and takes some
# minutes.
#
#     peers/llama.sh NPM-DIRECTORY BUILD-DIRECTORY
#     go run ./bench -npm NPM-DIRECTORY -llama native=BUILD-DIRECTORY/lib …
#
# CC, CXX and JOBS choose compilers and how many of them run at a time.
set -eu
bundle=$(realpath "$1/node_modules/node-llama-cpp/llama/gitRelease.bundle")
mkdir -p "$2"
build=$(realpath "$2")
[ -d "$build/src" ] || git clone -q "$bundle" "$build/src"
cmake -S "$build/src" -B "$build/cmake" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
	-DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON -DGGML_OPENMP=ON -DGGML_BACKEND_DL=OFF \
	-DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
	-DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF
cmake --build "$build/cmake" --target llama -j "${JOBS:-2}"
mkdir -p "$build/lib"
find "$build/cmake" \( -name 'libllama*.so*' -o -name 'libggml*.so*' \) -exec cp -P {} "$build/lib/" \;
ls "$build/lib"
