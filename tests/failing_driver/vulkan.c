/* A Vulkan loader that fails on purpose: it hands everything to the real one, but the call number FAIL_AT
 * of the function FAIL_CALL, and all its later ones, return FAIL_CODE (-4: the device is lost; -2: it has no
 * memory left; -1: the host has none). With FAIL_ONCE=1 only that one call does.
 *
 * A driver that computes wrongly: shaders with an instruction of the number WRONG_WITH (345: shuffle within a
 * subgroup, 98: reading an image, 19: all) subtract where they should add.
 *
 *     cc -shared -fPIC -o libvulkan.so.1 vulkan.c -ldl
 *     LD_LIBRARY_PATH=. REAL_VULKAN=/usr/lib/…/libvulkan.so.1 FAIL_CALL=vkQueueSubmit FAIL_AT=3 melos …
 *
 * No header of Vulkan is needed: what a call returns is all that is changed, so wrappers pass six words on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef intptr_t word;
typedef int32_t (*call)(word, word, word, word, word, word);
typedef void *(*lookup)(void *, const char *);

static void *library(void) {
    static void *real;
    if (!real)
        real = dlopen(getenv("REAL_VULKAN"), RTLD_NOW | RTLD_LOCAL);
    return real;
}

static int fails(const char *name) {
    static long calls;
    const char *wanted = getenv("FAIL_CALL"), *at = getenv("FAIL_AT"), *once = getenv("FAIL_ONCE");
    if (!wanted || strcmp(wanted, name))
        return 0;
    long n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST), from = at ? atol(at) : 1;
    return once ? n == from : n >= from;
}

static int code(void) {
    const char *text = getenv("FAIL_CODE");
    return text ? atoi(text) : -4;
}

#define CALLS(X)                                                                                           \
    X(vkAllocateMemory) X(vkAllocateCommandBuffers) X(vkAllocateDescriptorSets) X(vkBeginCommandBuffer)    \
    X(vkBindBufferMemory) X(vkCreateBuffer) X(vkCreateCommandPool) X(vkCreateComputePipelines)             \
    X(vkCreateDescriptorPool) X(vkCreateDescriptorSetLayout) X(vkCreateDevice) X(vkCreateFence)            \
    X(vkCreateInstance) X(vkCreatePipelineLayout) X(vkCreateQueryPool) X(vkCreateSemaphore)                \
    X(vkCreateShaderModule) X(vkEndCommandBuffer) X(vkGetFenceStatus) X(vkGetSemaphoreCounterValue)        \
    X(vkGetSemaphoreCounterValueKHR) X(vkMapMemory) X(vkQueueSubmit) X(vkQueueSubmit2)                     \
    X(vkResetCommandPool) X(vkResetFences) X(vkWaitForFences) X(vkWaitSemaphores)                          \
    X(vkWaitSemaphoresKHR) X(vkDeviceWaitIdle) X(vkQueueWaitIdle) X(vkInvalidateMappedMemoryRanges)        \
    X(vkFlushMappedMemoryRanges) X(vkCreateImage) X(vkBindImageMemory) X(vkCreateImageView)                \
    X(vkEnumeratePhysicalDevices)

#define WRAP(name)                                                                                         \
    static call real_##name;                                                                               \
    static int32_t failing_##name(word a, word b, word c, word d, word e, word f) {                        \
        return fails(#name) ? code() : real_##name(a, b, c, d, e, f);                                      \
    }
CALLS(WRAP)

enum { ADD = 129, SUBTRACT = 131, HEADER = 5 };

/* The next instruction of SPIR-V, whose word has its length above its number. */
#define EACH(i, code, count) (size_t i = HEADER; i < (count) && (code)[i] >> 16; i += (code)[i] >> 16)

static int32_t wrong_vkCreateShaderModule(word a, word b, word c, word d, word e, word f) {
    const char *text = getenv("WRONG_WITH");
    struct { word type, next, flags; size_t size; const uint32_t *code; } info = {0};
    memcpy(&info, (void *)b, sizeof info);
    size_t count = info.size / 4;
    int meant = 0;
    if (text)
        for EACH (i, info.code, count)
            meant |= (info.code[i] & 0xffff) == (uint32_t)atoi(text);
    if (!meant)
        return failing_vkCreateShaderModule(a, b, c, d, e, f);
    uint32_t *code = malloc(info.size);
    memcpy(code, info.code, info.size);
    for EACH (i, code, count)
        if ((code[i] & 0xffff) == ADD)
            code[i] += SUBTRACT - ADD;
    info.code = code;
    int32_t result = failing_vkCreateShaderModule(a, (word)&info, c, d, e, f);
    free(code);
    return result;
}

static void *wrapped(const char *name, void *real) {
    if (!real)
        return real;
    if (!strcmp(name, "vkCreateShaderModule")) {
        real_vkCreateShaderModule = (call)real;
        return (void *)wrong_vkCreateShaderModule;
    }
#define CHOOSE(known)                                                                                      \
    if (!strcmp(name, #known)) {                                                                           \
        real_##known = (call)real;                                                                         \
        return (void *)failing_##known;                                                                    \
    }
    CALLS(CHOOSE)
    return real;
}

static lookup real_device_lookup;

static void *device_lookup(void *device, const char *name) {
    return wrapped(name, real_device_lookup(device, name));
}

void *vkGetInstanceProcAddr(void *instance, const char *name) {
    lookup real = (lookup)dlsym(library(), "vkGetInstanceProcAddr");
    void *found = real(instance, name);
    if (found && !strcmp(name, "vkGetDeviceProcAddr")) {
        real_device_lookup = (lookup)found;
        return (void *)device_lookup;
    }
    return wrapped(name, found);
}
