// A 3 by 3 convolution. All is written out: compilers for processors take loops and arrays as they stand.

void main() {
  ivec2 p = ivec2(gl_FragCoord.xy);
  vec4 tl = vec4(0.0), tr = tl, bl = tl, br = tl;
  mat4 m;
  for (int i = 0; i < blocks; i++) {
    vec4 style = texelFetch(head, ivec2(i, row), 0);
    vec4 a0 = AT(-1, -1, 3), a1 = AT(0, -1, 2), a2 = AT(0, -1, 3), a3 = AT(1, -1, 2);
    vec4 b0 = AT(-1, 0, 1), b1 = AT(0, 0, 0), b2 = AT(0, 0, 1), b3 = AT(1, 0, 0);
    vec4 c0 = AT(-1, 0, 3), c1 = AT(0, 0, 2), c2 = AT(0, 0, 3), c3 = AT(1, 0, 2);
    vec4 d0 = AT(-1, 1, 1), d1 = AT(0, 1, 0), d2 = AT(0, 1, 1), d3 = AT(1, 1, 0);
    TAP(0, a0, a1, b0, b1);
    TAP(1, a1, a2, b1, b2);
    TAP(2, a2, a3, b2, b3);
    TAP(3, b0, b1, c0, c1);
    TAP(4, b1, b2, c1, c2);
    TAP(5, b2, b3, c2, c3);
    TAP(6, c0, c1, d0, d1);
    TAP(7, c1, c2, d1, d2);
    TAP(8, c2, c3, d2, d3);
  }
  vec4 scale = texelFetch(head, ivec2(block, row + 1), 0);
  finish(vec4[4](scale * tl, scale * tr, scale * bl, scale * br));
}
