#pragma once
#include <isa-l/igzip_lib.h>
#include <stdlib.h>

/* A gzip header and trailer (RFC 1952) around deflate; level 1 of 3. NULL when there is no memory. */
static inline struct isal_zstream *strongroom_gzip_begin(void) {
    struct isal_zstream *stream = malloc(sizeof *stream + ISAL_DEF_LVL1_DEFAULT);
    if (!stream) return NULL;
    isal_deflate_init(stream);
    stream->gzip_flag = IGZIP_GZIP;
    stream->level = 1;
    stream->level_buf = (uint8_t *)(stream + 1);
    stream->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    return stream;
}

static inline struct inflate_state *strongroom_gunzip_begin(void) {
    struct inflate_state *stream = malloc(sizeof *stream);
    if (!stream) return NULL;
    isal_inflate_init(stream);
    stream->crc_flag = ISAL_GZIP;
    return stream;
}

/* Enums and macros. */
static inline int strongroom_gunzip(struct inflate_state *stream) { return isal_inflate(stream) == ISAL_DECOMP_OK; }
static inline int strongroom_gunzip_is_finished(const struct inflate_state *stream) {
    return stream->block_state == ISAL_BLOCK_FINISH;
}
