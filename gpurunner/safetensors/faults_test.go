package safetensors

import (
	"encoding/binary"
	"strings"
)

// raw puts a file together from a header's text and its data, with no check at all.
func raw(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func withLength(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// faults are broken files: the name says what is wrong, want is a part of the sentence that Open must give. They
// are also the seeds of FuzzOpen.
var faults = []struct {
	name string
	file []byte
	want string
}{
	{"Empty", nil, "it has 0 bytes"},
	{"LengthCut", []byte{1, 2, 3}, "it has 3 bytes"},
	{"HeaderOver100MB", withLength(100_000_001, "{}"), "the limit is 100000000"},
	{"HeaderLengthMax", withLength(1<<64-1, "{}"), "the limit is 100000000"},
	{"HeaderCut", withLength(90_000_000, "{}"), "only 2 follow"},
	{"HeaderEmpty", raw(""), "not JSON"},
	{"HeaderNotUTF8", raw("{\"\xff\":1}"), "not UTF-8"},
	{"HeaderNotJSON", raw("{pickle"), "not JSON"},
	{"TooManyDims", raw(`{"a":{"dtype":"U8","shape":[`+strings.Repeat("1,", 64)+`1],"data_offsets":[0,1]}}`, 1), `has more than 64 numbers in its shape`},
	{"HeaderArray", raw("[]"), "not a JSON object"},
	{"HeaderUnclosed", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}`, 1), "not JSON"},
	{"HeaderTrailing", raw(`{}{}`), "follows the JSON object"},
	{"HeaderComma", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}`, 1), "not JSON"},
	{"KeyNumber", raw(`{1:{}}`), "not JSON"},
	{"EntryNotObject", raw(`{"a":3}`), `tensor "a" is not described`},
	{"EntryNull", raw(`{"a":null}`), `tensor "a" is not described`},
	{"EntryNoDType", raw(`{"a":{"shape":[1],"data_offsets":[0,1]}}`, 1), `tensor "a" lacks`},
	{"EntryNoShape", raw(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1), `tensor "a" lacks`},
	{"EntryNoOffsets", raw(`{"a":{"dtype":"U8","shape":[1]}}`, 1), `tensor "a" lacks`},
	{"DTypeUnknown", raw(`{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,1]}}`, 1), `element type "Q4"`},
	{"DTypeNumber", raw(`{"a":{"dtype":4,"shape":[1],"data_offsets":[0,1]}}`, 1), "dtype that is not a string"},
	{"ShapeNegative", raw(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1), "the number -1 in its shape"},
	{"ShapeFraction", raw(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1), "the number 1.5 in its shape"},
	{"ShapeString", raw(`{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 1), "not a number"},
	{"ShapeObject", raw(`{"a":{"dtype":"U8","shape":{},"data_offsets":[0,1]}}`, 1), "shape that is not an array"},
	{"ShapeOverflow", raw(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`), "does not fit 64 bits"},
	{"ShapeOverflowBySize", raw(`{"a":{"dtype":"F64","shape":[1152921504606846976],"data_offsets":[0,0]}}`), "does not fit 64 bits"},
	{"ShapeOverflowToZero", raw(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`), "does not fit 64 bits"},
	{"DimensionTooLarge", raw(`{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}}`, 1), "too large"},
	{"DimensionOver64Bits", raw(`{"a":{"dtype":"U8","shape":[184467440737095516150],"data_offsets":[0,1]}}`, 1), "whole numbers"},
	{"ShapeAndLengthDiffer", raw(`{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}}`, 1, 2, 3, 4), "takes 4 bytes, but F16 of shape [3] takes 6"},
	{"OffsetsOne", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, 1), "1 numbers in its data_offsets"},
	{"OffsetsNegative", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 1), "the number -1"},
	{"OffsetsReversed", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1), "before it begins"},
	{"PastTheEnd", raw(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 1), "cut short"},
	{"Overlap", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 1, 2, 3), `tensor "b" begins at byte 1`},
	{"SameBytesTwice", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 1, 2), "inside another tensor"},
	{"HoleAtStart", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 1, 2), "leaves a hole"},
	{"HoleBetween", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 1, 2, 3), "leaves a hole"},
	{"HoleAtEnd", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, 2), "which has 2"},
	{"KeyTwice", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `tensor "a" is listed twice`},
	{"FieldTwice", raw(`{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1), `"dtype" twice`},
	{"MetadataNumber", raw(`{"__metadata__":{"a":1}}`), "not a string"},
	{"MetadataArray", raw(`{"__metadata__":[]}`), "not an object of strings"},
	{"MetadataKeyTwice", raw(`{"__metadata__":{"a":"1","a":"2"}}`), "twice"},
	{"MetadataNested", raw(`{"__metadata__":{"a":{"b":"c"}}}`), "not a string"},
	{"DeeplyNested", raw(`{"a":{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}}`), "no readable value"},
	{"NameTooLong", raw(`{"` + strings.Repeat("n", 100_000) + `":1}`), "is not described"},
}
