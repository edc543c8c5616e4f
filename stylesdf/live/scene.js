'use strict'
// What is seen, as one value. Links, file names, PNG metadata and Python code use the names of the Gradio page.

const MAX_SEED = 2 ** 32 - 1
const LIMITS = { psi: [0, 1], share: [0, 1], pitch: [-85, 85], roll: [-180, 180], fov: [4, 40, 0.1], perspective: [0, 4],
  cutAt: [-1, 1], around: [-180, 180, 1], above: [-90, 90, 1] } // and a slider's step
const SEEDS = ['seed', 'texture', 'to'] // texture: whose colours it has; to: whom it is blended with; null: nobody
const CHOICES = { mode: ['image', 'normals', 'depth', 'shape'], cut: ['none', 'front', 'side', 'top'] }
const LONG = { psi: 'truncation', texture: 'texture_seed', to: 'morph_seed', share: 'morph_share', edit: 'edits' } // in Python

// Angles in degrees; around and above: where the light is, here where models draw it.
function firstScene(header) {
  return { seed: 0, psi: 0.7, texture: null, to: null, share: 0, edit: '', yaw: 0, pitch: 0, roll: 0, fov: header.fov_deg,
    perspective: 1, mode: 'image', cut: 'none', cutAt: 0, around: -33, above: 33 }
}

const isLightMoved = ({ around, above }) => around !== -33 || above !== 33
const needsNormals = (scene) => /normals|shape/.test(scene.mode) || scene.mode === 'image' && isLightMoved(scene)
const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high)
const tidy = (value, digits = 2) => Number(value.toFixed(digits))
const wrap = (yaw) => yaw - 360 * Math.round(yaw / 360) // degrees, -180 .. 180

// Amounts by which heads differ in what has a name, from text: age=1.5,hat=1
function readEdits(text) {
  return text ? text.split(',').map((part) => part.split('=')).map(([name, amount]) => [name, Number(amount)]) : []
}

function writeEdits(edits) {
  return edits.filter(([, amount]) => amount).map((edit) => edit.join('=')).join(',')
}

// One value from text; undefined where the text is no such value.
function readField(name, text, { directions } = {}) {
  if (name === 'edit') {
    const edits = readEdits(text), isOnce = new Set(edits.map(([each]) => each)).size === edits.length
    const isFine = ([each, amount]) => directions.includes(each) && Math.abs(amount) <= 10
    return isOnce && edits.every(isFine) ? writeEdits(edits) : undefined
  }
  if (name in CHOICES) return CHOICES[name].includes(text) ? text : undefined
  if (SEEDS.includes(name)) return /^[0-9]{1,10}$/.test(text) && Number(text) <= MAX_SEED ? Number(text) : undefined
  const value = /^[-+.0-9e]{1,30}$/i.test(text) ? Number(text) : NaN
  if (!Number.isFinite(value)) return undefined
  return name === 'yaw' ? wrap(value) : clamp(value, LIMITS[name])
}

// The scene of a link's fragment, and a sentence for every value that could not be read.
function readFragment(fragment, header) {
  const scene = firstScene(header), complaints = []
  for (const [name, text] of new URLSearchParams(fragment.replace(/^#/, ''))) {
    if (!(name in scene)) continue // not ours
    const value = readField(name, text, header)
    if (value === undefined) complaints.push(`The link's ${name} is "${text.slice(0, 40)}", which this page cannot read.`)
    else scene[name] = value
  }
  return { scene, complaints }
}

// What differs from the first scene, and the seed.
function changes(scene, header) {
  const first = firstScene(header)
  return Object.entries(scene).filter(([name, value]) => name === 'seed' || value !== first[name])
}

function writeFragment(scene, header) {
  return '#' + changes(scene, header).map(([name, value]) => `${name}=${value}`).join('&')
}

function titleOf({ seed, texture, to, share, edit }) {
  let title = `head-${seed}`
  if (texture !== null) title += `-textured-${texture}`
  if (to !== null && share > 0) title += `-to-${to}-${Math.round(100 * share)}`
  if (edit) title += '-edited'
  return title
}

// Text fields for a PNG: the scene for machines (the Gradio page reads it), and its parts for people.
function metadataOf(scene, header) {
  const fields = changes(scene, { ...header, fov_deg: header.model_fov_deg }).filter(([name]) => !name.startsWith('cut'))
  const values = Object.fromEntries(fields.map(([name, value]) => [LONG[name] || name, value]))
  const ascii = (text) => text.replace(/[^ -~]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return {
    Software: `stylesdf ${header.version}`, stylesdf: ascii(JSON.stringify({ model: header.name, ...values })),
    seed: `${scene.seed}`, truncation: `${scene.psi}`, model: header.name, commit: header.commit, version: header.version,
  }
}

// Python that makes the same view. A page without decoder draws the volume renderer's thumbnail, whose colours are those
// of the field's last layer.
function pythonOf(scene, header) {
  const { seed, psi, texture, to, share, edit, around, above, mode } = scene
  const [name, revision] = header.name.split('@'), quoted = JSON.stringify
  const from = quoted(name) + (revision ? `, revision=${quoted(revision)}` : '')
  const imports = [], lines = [`model = StyleSDF.from_pretrained(${from})`]
  const style = texture !== null && header.decoder ? `, texture_seed=${texture}` : ''
  const head = (number, more) => `model.head(${number}, truncation=${psi}${more})`
  lines.push(`head = ${head(seed, style)}`)
  if (to !== null && share > 0) lines.push(`head = model.blend(head, ${head(to, style)}, ${share})`)
  if (edit) lines.push(`head = model.edit(head, {${readEdits(edit).map(([name, amount]) => `"${name}": ${amount}`).join(', ')}})`)
  if (texture !== null && !style) {
    imports.unshift('import dataclasses')
    lines.push(`colours = model.field.view_layer.fold(${head(texture, '')}.w)`)
    lines.push('head = dataclasses.replace(head, field=dataclasses.replace(head.field, view_layer=colours))')
  }
  const turns = ['yaw', 'pitch', 'roll'].filter((axis) => scene[axis])
  const options = turns.map((axis) => `${axis}=math.radians(${scene[axis]})`)
  if (isLightMoved(scene)) options.push(`light=(math.radians(${around}), math.radians(${above}))`)
  if (options.length) imports.push('import math')
  if (scene.fov !== header.model_fov_deg) options.push(`fov_deg=${scene.fov}`)
  if (scene.perspective !== 1) options.push(`perspective=${scene.perspective}`)
  lines.push(`view = head.view(${options.length ? `Shot(${options.join(', ')})` : ''})`)
  imports.push(`from stylesdf import ${options.length ? 'Shot, ' : ''}StyleSDF`)
  const file = quoted(`${titleOf(scene)}.png`)
  if (mode === 'image') {
    lines.push(`view.${header.decoder ? 'image' : 'thumbnail'}.save(${file})`)
  } else {
    imports.push('from stylesdf.demo.pictures import picture')
    lines.push(`picture(view, ${quoted(mode)}).save(${file})`)
  }
  return [...imports, '', ...lines].join('\n')
}
