// The signed distance field of one head: FiLM-SIREN layers h <- sin(M h + o), frequency and phase folded into M and o.
// BLOCKS (width / 4) and DEPTH are defined before. The texture `weights`, made by Model.fold, is 4 * BLOCKS wide:
//   row (layer - 1) * BLOCKS + b   texel i: column i of M, outputs 4b .. 4b+3; layer 1 .. DEPTH, the last is the colour's
//   row OFFSETS + layer            texel b: offsets of outputs 4b .. 4b+3; layer 0 .. DEPTH
//   row FIRST + axis               texel b: layer 0, the column of x, y or z
//   row HEADS                      texel i: what hidden unit i gives to the distance and to red, green and blue
//   row BIASES                     texel 0: their biases

uniform sampler2D weights;
uniform int blocks; // BLOCKS once more: loops up to a uniform are not unrolled, which some compilers take minutes for
uniform sampler3D guide; // distances on a grid, as guide.glsl makes them
uniform float guideSize, guideError;
uniform float radius; // of the scene's ball, and half of the guide's side
uniform mat4x3 camera; // right, up, back, origin
uniform float focal, size, perspective; // in units of the picture's size; pixels per side; see Python's Camera

const int OFFSETS = DEPTH * BLOCKS, FIRST = OFFSETS + DEPTH + 1, HEADS = FIRST + 3, BIASES = HEADS + 1;

vec4 hidden[BLOCKS];

vec4 within(vec4 angle) { // the same angle in -pi .. pi, where every GPU's sine is good
  return angle - 6.283185307 * round(angle * 0.1591549431);
}

vec4 texel(int column, int row) {
  return texelFetch(weights, ivec2(column, row), 0);
}

vec4 first(vec3 point, int block) {
  return texel(block, OFFSETS) + texel(block, FIRST) * point.x + texel(block, FIRST + 1) * point.y
    + texel(block, FIRST + 2) * point.z;
}

mat4 columns(int i, int row) { // four of M, from column 4 i on
  return mat4(texel(4 * i, row), texel(4 * i + 1, row), texel(4 * i + 2, row), texel(4 * i + 3, row));
}

vec4 addProduct(vec4 sum, int row) { // adds the matrix in a row of the texture, times `hidden`
  for (int i = 0; i < blocks; i++) sum += columns(i, row) * hidden[i];
  return sum;
}

vec4 later(int layer, int block) {
  return addProduct(texel(block, OFFSETS + layer), (layer - 1) * BLOCKS + block);
}

void advance(int layer) {
  vec4 next[BLOCKS];
  for (int b = 0; b < blocks; b++) next[b] = sin(within(later(layer, b)));
  hidden = next;
}

vec4 heads() { // distance, red, green, blue of what is in `hidden`
  return addProduct(texel(0, BIASES), HEADS);
}

float distanceAt(vec3 point) { // leaves the last hidden layer in `hidden`
  for (int b = 0; b < blocks; b++) hidden[b] = sin(within(first(point, b)));
  for (int layer = 1; layer < DEPTH; layer++) advance(layer);
  return heads().x;
}

vec3 colourHere() { // after distanceAt; in 0 .. 1
  advance(DEPTH);
  return 1.0 / (1.0 + exp(-heads().yzw));
}

// Ray through a place in the picture, (0, 0) is its middle; of unit z-depth
void aim(vec2 place, out vec3 origin, out vec3 along) {
  vec3 aside = (camera[0] * place.x + camera[1] * place.y) / focal;
  origin = camera[3] + (1.0 - perspective) * aside;
  along = perspective * aside - camera[2];
}

float guess(vec3 point) { // the guide's distance
  return textureLod(guide, point / radius * (guideSize - 1.0) / guideSize * 0.5 + 0.5, 0.0).r;
}
