// What a light that was moved makes of a picture, as Python's `relit`: a soft light from there over one from KEY.
uniform vec3 light; // towards it, world axes
uniform bool isMoved;

const vec3 KEY = vec3(-0.451, 0.551, 0.702); // where the model draws it

float soft(vec3 normal, vec3 towards) {
  return 0.35 + 0.65 * max((dot(normal, towards) + 0.4) / 1.4, 0.0);
}

vec3 lit(vec3 shown, vec3 normal) {
  return isMoved ? shown * pow(soft(normal, light) / soft(normal, KEY), 1.0 / 2.2) : shown;
}
