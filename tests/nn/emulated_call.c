/* Calls one function of a library with arguments from a file, and writes the buffers back: for an emulated processor.
 *
 * File: symbol, then counts of buffers, integers and floats, the buffers' sizes, the integers (index of a buffer or -1,
 * value or offset), the floats, one newline, then the buffers' bytes. All integer arguments are passed before all floats;
 * on AArch64 the two kinds have registers of their own, so the callee finds each in its place whatever their order.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INTEGERS 32
#define FLOATS 8

typedef void function(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                      int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                      int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, float,
                      float, float, float, float, float, float, float);

int main(int count, char **arguments) {
    if (count != 3) return 2;
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 3;
    FILE *file = fopen(arguments[2], "rb+");
    char symbol[256];
    int buffers, integers, floats;
    if (!file || fscanf(file, "%255s %d %d %d", symbol, &buffers, &integers, &floats) != 4) return 4;
    if (integers > INTEGERS || floats > FLOATS) return 5;
    int64_t sizes[64], i[INTEGERS] = {0};
    char *memory[64];
    for (int n = 0; n < buffers; n++)
        if (fscanf(file, "%ld", &sizes[n]) != 1) return 4;
        else memory[n] = aligned_alloc(64, (size_t)(sizes[n] + 64) / 64 * 64);
    for (int n = 0; n < integers; n++) {
        int64_t buffer, value;
        if (fscanf(file, "%ld %ld", &buffer, &value) != 2) return 4;
        i[n] = buffer < 0 ? value : (int64_t)(memory[buffer] + value);
    }
    float f[FLOATS] = {0};
    for (int n = 0; n < floats; n++)
        if (fscanf(file, "%f", &f[n]) != 1) return 4;
    fgetc(file);
    long start = ftell(file);
    for (int n = 0; n < buffers; n++)
        if (fread(memory[n], 1, (size_t)sizes[n], file) != (size_t)sizes[n]) return 4;
    function *call = (function *)dlsym(library, symbol);
    if (!call) return fprintf(stderr, "%s\n", dlerror()), 3;
    call(i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], i[8], i[9], i[10], i[11], i[12], i[13], i[14], i[15], i[16], i[17],
         i[18], i[19], i[20], i[21], i[22], i[23], i[24], i[25], i[26], i[27], i[28], i[29], i[30], i[31], f[0], f[1], f[2],
         f[3], f[4], f[5], f[6], f[7]);
    fseek(file, start, SEEK_SET);
    for (int n = 0; n < buffers; n++)
        if (fwrite(memory[n], 1, (size_t)sizes[n], file) != (size_t)sizes[n]) return 6;
    return fclose(file) ? 6 : 0;
}
