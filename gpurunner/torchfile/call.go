package torchfile

import (
	"fmt"
	"strings"
)

// call executes the instructions with which a pickle asks Python for something.
func (m *machine) call(op byte) error {
	switch op {
	case 'c': // GLOBAL
		module, err := m.line()
		if err != nil {
			return err
		}
		name, err := m.line()
		m.push(global{module, name})
		return err
	case 0x93: // STACK_GLOBAL
		name, err := m.pop()
		if err != nil {
			return err
		}
		module, err := m.pop()
		a, ok1 := module.(string)
		b, ok2 := name.(string)
		if err == nil && (!ok1 || !ok2) {
			err = errKind
		}
		m.push(global{a, b})
		return err
	case 'R', 0x81: // REDUCE, NEWOBJ
		args, err := m.pop()
		if err != nil {
			return err
		}
		class, err := m.pop()
		if err != nil {
			return err
		}
		return m.construct(class, args)
	case 'b': // BUILD
		state, err := m.pop()
		if err != nil {
			return err
		}
		if len(m.stack) == 0 {
			return errStack
		}
		if o, ok := m.stack[len(m.stack)-1].(*Object); ok {
			o.State = state
		}
		return nil // attributes of what is known say nothing of tensors
	case 'Q': // BINPERSID
		id, err := m.pop()
		if err != nil {
			return err
		}
		return m.persistent(id)
	}
	return fmt.Errorf("the pickle has the instruction %#02x, which torch.save does not write", op)
}

// construct makes what a class or function would have made of args.
func (m *machine) construct(class, args any) error {
	g, ok := class.(global)
	a, isTuple := args.(Tuple)
	if !ok || !isTuple {
		return errKind
	}
	switch g.String() {
	case "collections.OrderedDict":
		d := &Dict{}
		m.push(d)
		if len(a) == 0 {
			return nil
		}
		pairs, ok := a[0].(*List)
		if !ok {
			return errKind
		}
		for _, p := range pairs.Items {
			switch p := p.(type) {
			case Tuple:
				if len(p) != 2 {
					return errKind
				}
				d.Keys, d.Values = append(d.Keys, p[0]), append(d.Values, p[1])
			case *List:
				if len(p.Items) != 2 {
					return errKind
				}
				d.Keys, d.Values = append(d.Keys, p.Items[0]), append(d.Values, p.Items[1])
			default:
				return errKind
			}
		}
		return nil
	case "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor":
		return m.tensor(a)
	case "torch._utils._rebuild_parameter":
		if len(a) == 0 {
			return errKind
		}
		m.push(a[0])
		return nil
	}
	m.push(&Object{Class: g.String()})
	return nil
}

// tensor makes a tensor of (storage, offset, shape, stride, …).
func (m *machine) tensor(a Tuple) error {
	if len(a) < 4 {
		return errKind
	}
	s, ok := a[0].(*storage)
	offset, ok2 := a[1].(int64)
	shape, ok3 := integers(a[2])
	stride, ok4 := integers(a[3])
	if !ok || !ok2 || !ok3 || !ok4 || len(shape) != len(stride) || len(shape) > 8 {
		return errKind
	}
	t, ok := s.view(offset, shape, stride)
	if !ok {
		return fmt.Errorf("a tensor of shape %v does not fit the %d bytes that it is to lie in", shape, len(s.data))
	}
	if m.budget -= int64(len(t.Data)); m.budget < 0 {
		return fmt.Errorf("its tensors overlap more than once")
	}
	m.push(t)
	return nil
}

func integers(v any) (out []int64, ok bool) {
	t, ok := v.(Tuple)
	for _, x := range t {
		n, isInt := x.(int64)
		if !isInt {
			return nil, false
		}
		out = append(out, n)
	}
	return out, ok
}

// persistent finds the storage ("storage", class, key, device, elements).
func (m *machine) persistent(id any) error {
	t, ok := id.(Tuple)
	if !ok || len(t) < 3 || t[0] != "storage" {
		return errKind
	}
	class, ok1 := t[1].(global)
	key, ok2 := t[2].(string)
	if !ok1 || !ok2 || strings.Contains(key, "/") {
		return errKind
	}
	s, err := m.storage(class, key)
	m.push(s)
	return err
}
