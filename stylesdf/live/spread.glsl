// The transposed 3 by 3 convolution of stride 2: R pixels a side give 2 R + 1; pixel i gives to pixels 2 i .. 2 i + 2.
// Pixels of even and odd rows and columns, the phases, are maps of their own: block 4 b + phase holds one of block b.
uniform int phase; // 2 for odd rows, plus 1 for odd columns

void main() {
  ivec2 p = ivec2(gl_FragCoord.xy);
  vec4 tl = vec4(0.0), tr = tl, bl = tl, br = tl;
  mat4 m;
  for (int i = 0; i < blocks; i++) {
    vec4 style = texelFetch(head, ivec2(i, row), 0);
    vec4 b1 = AT(0, 0, 0), b2 = AT(0, 0, 1), c1 = AT(0, 0, 2), c2 = AT(0, 0, 3);
    if (phase == 3) {
      TAP(4, b1, b2, c1, c2);
    } else if (phase == 2) {
      vec4 b0 = AT(-1, 0, 1), c0 = AT(-1, 0, 3);
      TAP(3, b1, b2, c1, c2);
      TAP(5, b0, b1, c0, c1);
    } else {
      vec4 a1 = AT(0, -1, 2), a2 = AT(0, -1, 3);
      if (phase == 1) {
        TAP(1, b1, b2, c1, c2);
        TAP(7, a1, a2, b1, b2);
      } else {
        vec4 a0 = AT(-1, -1, 3), b0 = AT(-1, 0, 1), c0 = AT(-1, 0, 3);
        TAP(0, b1, b2, c1, c2);
        TAP(6, a1, a2, b1, b2);
        TAP(2, b0, b1, c0, c1);
        TAP(8, a0, a1, b0, b1);
      }
    }
  }
  vec4 scale = texelFetch(head, ivec2(block, row + 1), 0);
  topLeft = scale * tl;
  topRight = scale * tr;
  bottomLeft = scale * bl;
  bottomRight = scale * br;
}
