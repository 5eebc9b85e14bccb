/*
 * Measures FFTW for bench: causal convolutions of CHANNELS channels, each with a filter as
 * long as the sequence, of which the spectra are computed beforehand. Answers
 *
 *     conv N    convolve sequences of N positions
 *     logits    the last position of the last result, all channels
 *
 * as ../protocol.go describes. Each thread transforms channels of its own, which lie in
 * memory one after the other: the layout that suits FFTW.
 *
 *     fftw THREADS
 */
#include <fftw3.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 768 };

static int length; /* of what follows; 0 before the first command */
static float *x, *y;
static fftwf_complex *spectra;
static float *padded[256];
static fftwf_complex *spectrum[256];
static fftwf_plan forward, backward;
static int threads;

/* The same numbers as in ../convolution.go. */
static float input(int t, int c) { return (float)((t * 31 + c * 17) % 64 - 32) / 32; }
static float tap(int t, int c) { return (float)((t * 13 + c * 7) % 32 - 16) / 16 * expf(-3 * (float)t / (float)length); }

static void prepare(int n) {
	int bins = n + 1;
	length = n;
	x = fftwf_malloc(sizeof *x * CHANNELS * n);
	y = fftwf_malloc(sizeof *y * CHANNELS * n);
	spectra = fftwf_malloc(sizeof *spectra * CHANNELS * bins);
	for (int i = 0; i < threads; i++) {
		padded[i] = fftwf_malloc(sizeof *padded[i] * 2 * n);
		spectrum[i] = fftwf_malloc(sizeof *spectrum[i] * bins);
	}
	forward = fftwf_plan_dft_r2c_1d(2 * n, padded[0], spectrum[0], FFTW_MEASURE);
	backward = fftwf_plan_dft_c2r_1d(2 * n, spectrum[0], padded[0], FFTW_MEASURE);
	for (int c = 0; c < CHANNELS; c++) {
		memset(padded[0], 0, sizeof *padded[0] * 2 * n);
		for (int t = 0; t < n; t++) {
			x[(size_t)c * n + t] = input(t, c);
			padded[0][t] = tap(t, c) / (float)(2 * n); /* which the inverse leaves out */
		}
		fftwf_execute_dft_r2c(forward, padded[0], spectrum[0]);
		memcpy(spectra + (size_t)c * bins, spectrum[0], sizeof *spectra * bins);
	}
}

static void release(void) {
	if (length == 0)
		return;
	fftwf_destroy_plan(forward);
	fftwf_destroy_plan(backward);
	fftwf_free(x);
	fftwf_free(y);
	fftwf_free(spectra);
	for (int i = 0; i < threads; i++) {
		fftwf_free(padded[i]);
		fftwf_free(spectrum[i]);
	}
}

static void multiply(fftwf_complex *restrict a, const fftwf_complex *restrict b, int n) {
	for (int i = 0; i < n; i++) {
		float re = a[i][0] * b[i][0] - a[i][1] * b[i][1];
		a[i][1] = a[i][0] * b[i][1] + a[i][1] * b[i][0];
		a[i][0] = re;
	}
}

static void convolve(void) {
	int n = length, bins = n + 1;
#pragma omp parallel for schedule(static) num_threads(threads)
	for (int c = 0; c < CHANNELS; c++) {
		float *p = padded[omp_get_thread_num()];
		fftwf_complex *s = spectrum[omp_get_thread_num()];
		memcpy(p, x + (size_t)c * n, sizeof *p * n);
		memset(p + n, 0, sizeof *p * n);
		fftwf_execute_dft_r2c(forward, p, s);
		multiply(s, spectra + (size_t)c * bins, bins);
		fftwf_execute_dft_c2r(backward, s, p);
		memcpy(y + (size_t)c * n, p, sizeof *p * n);
	}
}

static void answer(const char *line) {
	int n = 0;
	if (strncmp(line, "logits", 6) == 0 && length > 0) {
		printf("{\"logits\":[");
		for (int c = 0; c < CHANNELS; c++)
			printf("%s%.9g", c ? "," : "", (double)y[(size_t)c * length + length - 1]);
		printf("]}\n");
		return;
	}
	if (sscanf(line, "conv %d", &n) != 1 || n < 1) {
		printf("{\"error\":\"unknown command\"}\n");
		return;
	}
	if (n != length) {
		release();
		prepare(n);
	}
	double begin = omp_get_wtime();
	convolve();
	printf("{\"seconds\":%.9f}\n", omp_get_wtime() - begin);
}

int main(int argc, char **argv) {
	threads = argc == 2 ? atoi(argv[1]) : 0;
	if (threads < 1 || threads > 256) {
		fprintf(stderr, "usage: %s threads\n", argv[0]);
		return 2;
	}
	printf("{\"version\":\"%s\"}\n", fftwf_version);
	fflush(stdout);
	char line[256];
	while (fgets(line, sizeof line, stdin) != NULL) {
		answer(line);
		fflush(stdout);
	}
	release();
	return 0;
}
