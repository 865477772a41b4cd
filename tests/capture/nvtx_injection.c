/* A tool that listens to NVTX: writes each push, pop, start and end of the default domain to $NVTX_LOG.<pid>.
   NVTX loads it where NVTX_INJECTION64_PATH names it, so that ranges can be seen without a GPU and without Nsight. */
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *out;
static __thread int depth;

static int NVTX_API push(const char *text) { fprintf(out, "push %d %s\n", depth, text); return depth++; }
static int NVTX_API pop(void) { fprintf(out, "pop %d\n", --depth); return depth; }
static nvtxRangeId_t NVTX_API start(const char *text) { fprintf(out, "start 0 %s\n", text); return 7; }
static void NVTX_API end(nvtxRangeId_t range) { fprintf(out, "end %d\n", (int)range); }

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t table_of) {
    const NvtxExportTableCallbacks *tables = table_of(NVTX_ETID_CALLBACKS);
    NvtxFunctionTable core;
    unsigned int size;
    char path[4096];
    if (!tables || !tables->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &core, &size)) return 0;
    snprintf(path, sizeof path, "%s.%d", getenv("NVTX_LOG"), getpid());
    if (!(out = fopen(path, "w"))) return 0;
    setvbuf(out, NULL, _IOLBF, 0);
    *core[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)push;
    *core[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
    *core[NVTX_CBID_CORE_RangeStartA] = (NvtxFunctionPointer)start;
    *core[NVTX_CBID_CORE_RangeEnd] = (NvtxFunctionPointer)end;
    return 1;
}
