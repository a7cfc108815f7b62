package torchfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// machine is the stack machine of pickle, protocols 2 to 5, as Python's
// pickletools describes its instructions.
type machine struct {
	code  []byte
	stack []any
	memo  map[uint32]any
	// storage finds a tensor's bytes by the key that they are filed under.
	storage func(class global, key string) (*storage, error)
	budget  int64 // bytes that tensors may still take
}

// mark is where a tuple, list or dictionary begins on the stack.
type mark struct{}

var (
	errShort = errors.New("the pickle ends too soon")
	errStack = errors.New("the pickle takes more from its stack than is there")
	errKind  = errors.New("the pickle uses a value as what it is not")
)

func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.code)) {
		return nil, errShort
	}
	b := m.code[:n]
	m.code = m.code[n:]
	return b, nil
}

// number reads an unsigned little-endian number of n bytes.
func (m *machine) number(n uint64) (uint64, error) {
	b, err := m.take(n)
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:]), nil
}

// line reads up to the next end of line.
func (m *machine) line() (string, error) {
	i := bytes.IndexByte(m.code, '\n')
	if i < 0 {
		return "", errShort
	}
	b, err := m.take(uint64(i) + 1)
	return string(b[:max(0, len(b)-1)]), err
}

// text reads a text whose length takes n bytes.
func (m *machine) text(n uint64) error {
	length, err := m.number(n)
	if err != nil {
		return err
	}
	b, err := m.take(length)
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return errors.New("the pickle has a text that is not UTF-8")
	}
	m.push(string(b))
	return nil
}

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

func (m *machine) pop() (any, error) {
	if len(m.stack) == 0 {
		return nil, errStack
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	if _, is := v.(mark); is {
		return nil, errStack
	}
	return v, nil
}

// since takes what lies above the last mark.
func (m *machine) since() ([]any, error) {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if _, is := m.stack[i].(mark); is {
			items := append([]any(nil), m.stack[i+1:]...)
			m.stack = m.stack[:i]
			return items, nil
		}
	}
	return nil, errStack
}

// run executes the pickle and returns what it leaves.
func (m *machine) run() (any, error) {
	for {
		op, err := m.number(1)
		if err != nil {
			return nil, err
		}
		if op == '.' { // STOP
			return m.pop()
		}
		if err := m.step(byte(op)); err != nil {
			return nil, err
		}
	}
}

func (m *machine) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		v, err := m.number(1)
		if err == nil && (v < 2 || v > 5) {
			err = fmt.Errorf("the pickle is of protocol %d, not 2 to 5", v)
		}
		return err
	case 0x95: // FRAME
		_, err := m.take(8)
		return err
	case '(':
		m.push(mark{})
	case 'N':
		m.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		m.push(op == 0x88)
	case 'K', 'M', 'J', 'G', 0x8a, 0x8b: // numbers
		return m.numeral(op)
	case 'X', 0x8c, 0x8d: // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
		return m.text(map[byte]uint64{'X': 4, 0x8c: 1, 0x8d: 8}[op])
	case 'U', 'C', 'T', 'B', 0x8e: // bytes, and Python 2's strings
		n, err := m.number(map[byte]uint64{'U': 1, 'C': 1, 'T': 4, 'B': 4, 0x8e: 8}[op])
		if err == nil {
			_, err = m.take(n)
		}
		m.push(nil)
		return err
	case '}':
		m.push(&Dict{})
	case ']':
		m.push(&List{})
	case ')':
		m.push(Tuple(nil))
	case 't', 0x85, 0x86, 0x87: // tuples
		return m.tuple(op)
	case 'q', 'r', 'h', 'j', 0x94: // the memo
		return m.remember(op)
	case 's', 'u', 'a', 'e': // what fills dictionaries and lists
		return m.fill(op)
	case '0': // POP
		_, err := m.pop()
		return err
	default:
		return m.call(op)
	}
	return nil
}

func (m *machine) numeral(op byte) error {
	n := map[byte]uint64{'K': 1, 'M': 2, 'J': 4, 'G': 8}[op]
	if n == 0 { // LONG1, LONG4: the length comes first
		var err error
		if n, err = m.number(map[byte]uint64{0x8a: 1, 0x8b: 4}[op]); err != nil {
			return err
		}
	}
	b, err := m.take(n)
	switch {
	case err != nil:
		return err
	case op == 'G':
		m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case op == 'J':
		m.push(int64(int32(binary.LittleEndian.Uint32(b))))
	case n > 8:
		m.push(nil)
	default:
		var v int64
		for i := len(b) - 1; i >= 0; i-- {
			v = v<<8 | int64(b[i])
		}
		if shift := 64 - 8*uint(len(b)); op >= 0x8a && len(b) > 0 { // signed
			v = v << shift >> shift
		}
		m.push(v)
	}
	return nil
}

func (m *machine) tuple(op byte) error {
	if op == 't' {
		items, err := m.since()
		m.push(Tuple(items))
		return err
	}
	t := make(Tuple, int(op)-0x84)
	for i := len(t) - 1; i >= 0; i-- {
		var err error
		if t[i], err = m.pop(); err != nil {
			return err
		}
	}
	m.push(t)
	return nil
}

func (m *machine) remember(op byte) error {
	index := uint64(len(m.memo)) // MEMOIZE
	if op != 0x94 {
		var err error
		if index, err = m.number(map[byte]uint64{'q': 1, 'r': 4, 'h': 1, 'j': 4}[op]); err != nil {
			return err
		}
	}
	if op == 'h' || op == 'j' {
		v, ok := m.memo[uint32(index)]
		if !ok {
			return errStack
		}
		m.push(v)
		return nil
	}
	if len(m.stack) == 0 {
		return errStack
	}
	m.memo[uint32(index)] = m.stack[len(m.stack)-1]
	return nil
}

func (m *machine) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'u', 'e':
		items, err = m.since()
	case 'a', 's':
		items = make([]any, map[byte]int{'a': 1, 's': 2}[op])
		for i := len(items) - 1; i >= 0 && err == nil; i-- {
			items[i], err = m.pop()
		}
	}
	if err != nil {
		return err
	}
	if len(m.stack) == 0 {
		return errStack
	}
	switch into := m.stack[len(m.stack)-1].(type) {
	case *List:
		if op == 'a' || op == 'e' {
			into.Items = append(into.Items, items...)
			return nil
		}
	case *Dict:
		if (op == 's' || op == 'u') && len(items)%2 == 0 {
			for i := 0; i < len(items); i += 2 {
				into.Keys, into.Values = append(into.Keys, items[i]), append(into.Values, items[i+1])
			}
			return nil
		}
	case *Object: // a class that is a dictionary or list, unknown here
		return nil
	}
	return errKind
}
