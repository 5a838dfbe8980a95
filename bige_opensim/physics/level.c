/* Which of the widths that the sources were compiled for this processor has: the end of the functions' names. */
const char *bige_level(void) {
#ifdef WIDER
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? "_512" : "_256";
#endif
    return "";
}
