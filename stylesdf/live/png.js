'use strict'
// Text fields in a PNG file.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1
  return n
})

function crc32(bytes) {
  let crc = 0xffffffff
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

// A chunk: length, type and data, checksum of both. ASCII stands in tEXt behind its keyword, other text as UTF-8 in iTXt,
// uncompressed and of no language.
function textChunk(keyword, text) {
  const kind = /^[ -~]*$/.test(text) ? `tEXt${keyword}\0` : `iTXt${keyword}\0\0\0\0\0`
  const body = new TextEncoder().encode(kind + text)
  const chunk = new Uint8Array(body.length + 8), view = new DataView(chunk.buffer)
  view.setUint32(0, body.length - 4)
  chunk.set(body, 4)
  view.setUint32(body.length + 4, crc32(body))
  return chunk
}

// The same PNG with text fields behind its header.
function withText(bytes, fields) {
  const header = 8 + 25 // signature, IHDR
  const chunks = Object.entries(fields).map(([keyword, text]) => textChunk(keyword, text))
  return new Blob([bytes.slice(0, header), ...chunks, bytes.slice(header)], { type: 'image/png' })
}
