/*
 * Measures llama.cpp for bench: loads a GGUF file and answers the commands that
 * ../protocol.go describes.
 *
 *     llama MODEL THREADS DIRECTORY-OF-BACKENDS VERSION
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-backend.h"
#include "llama.h"

enum { BATCH = 512 };

static struct llama_context *ctx;
static int vocabulary;
static int at; /* tokens so far */

static void log_problems(enum ggml_log_level level, const char *text, void *data) {
	(void)data;
	if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR)
		fputs(text, stderr);
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Reads n tokens at once; no more than BATCH. */
static int feed(int n) {
	llama_token ids[BATCH];
	for (int i = 0; i < n; i++)
		ids[i] = (llama_token)((long long)at++ * 7919 % vocabulary);
	if (llama_decode(ctx, llama_batch_get_one(ids, n)) != 0)
		return 0;
	return llama_get_logits_ith(ctx, -1) != NULL; /* which waits for them */
}

static int prefill(int n) {
	llama_memory_clear(llama_get_memory(ctx), true);
	at = 0;
	for (; n > 0; n -= BATCH)
		if (!feed(n < BATCH ? n : BATCH))
			return 0;
	return 1;
}

static int decode(int n) {
	while (n-- > 0)
		if (!feed(1))
			return 0;
	return 1;
}

static void print_logits(void) {
	const float *l = llama_get_logits_ith(ctx, -1);
	printf("{\"logits\":[");
	for (int i = 0; l != NULL && i < vocabulary; i++)
		printf("%s%.9g", i ? "," : "", (double)l[i]);
	printf("]}\n");
}

static void answer(const char *line) {
	int n = 0;
	double begin = now();
	int ok;
	if (strncmp(line, "logits", 6) == 0) {
		print_logits();
		return;
	}
	if (sscanf(line, "prefill %d", &n) == 1 && n > 0)
		ok = prefill(n);
	else if (sscanf(line, "decode %d", &n) == 1 && n > 0)
		ok = decode(n);
	else {
		printf("{\"error\":\"unknown command\"}\n");
		return;
	}
	if (ok)
		printf("{\"seconds\":%.9f}\n", now() - begin);
	else
		printf("{\"error\":\"llama_decode failed\"}\n");
}

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: %s model threads backends version\n", argv[0]);
		return 2;
	}
	llama_log_set(log_problems, NULL);
	ggml_backend_load_all_from_path(argv[3]);
	llama_backend_init();

	struct llama_model_params mp = llama_model_default_params();
	mp.n_gpu_layers = 0;
	struct llama_model *model = llama_model_load_from_file(argv[1], mp);
	if (model == NULL) {
		fprintf(stderr, "%s does not load\n", argv[1]);
		return 1;
	}
	vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));

	struct llama_context_params cp = llama_context_default_params();
	cp.n_ctx = 8192;
	cp.n_batch = cp.n_ubatch = BATCH;
	cp.n_outputs_max = 1;
	cp.n_threads = cp.n_threads_batch = atoi(argv[2]);
	ctx = llama_init_from_model(model, cp);
	if (ctx == NULL) {
		fprintf(stderr, "no context\n");
		return 1;
	}
	printf("{\"version\":\"%s\"}\n", argv[4]);
	fflush(stdout);

	char line[256];
	while (fgets(line, sizeof line, stdin) != NULL) {
		answer(line);
		fflush(stdout);
	}
	llama_free(ctx);
	llama_model_free(model);
	return 0;
}
